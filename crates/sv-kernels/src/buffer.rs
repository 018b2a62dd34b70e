//! Memory for vectors: f32 that start on a cache line.

/// A cache line of 16 values.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// f32 values from the start of a cache line: a full vector is then never split over two, which halves the rate of
/// loads.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    /// The first `length` values, after growing to them if there are fewer; what is in them is left over from before.
    pub fn at_least(&mut self, length: usize) -> &mut [f32] {
        if self.length < length {
            self.lines.resize(length.div_ceil(16), Line([0.0; 16]));
            self.length = length;
        }
        &mut self.values_mut()[..length]
    }

    /// All values.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        debug_assert!(self.length <= self.lines.len() * 16);
        // SAFETY: the lines are `lines.len() * 16` initialised f32 in a row (repr(C)), and `length` is never more.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<f32>(), self.length) }
    }

    /// All values, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        debug_assert!(self.length <= self.lines.len() * 16);
        // SAFETY: the lines are `lines.len() * 16` initialised f32 in a row (repr(C)), and `length` is never more.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), self.length) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} values)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_on_a_line_and_only_grows() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.at_least(3), [0.0; 3]);
        buffer.at_least(40)[39] = 1.0;
        assert_eq!(buffer.at_least(2).len(), 2);
        assert_eq!(buffer.values().len(), 40);
        assert_eq!(buffer.values()[39], 1.0);
        assert_eq!(buffer.values().as_ptr() as usize % 64, 0);
        assert!(Buffer::default().values().is_empty());
    }
}
