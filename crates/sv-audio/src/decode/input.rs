//! Where the bytes come from: memory, or a stream whose beginning is in memory.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};

/// The bytes of one recording.
pub(super) enum Input<'a> {
    /// All of it.
    Memory(&'a [u8]),
    /// Its first bytes, and a reader of what follows.
    Stream(Vec<u8>, Box<dyn Read + Send + Sync + 'a>),
}

impl<'a> Input<'a> {
    /// The bytes that can be looked at without consuming any.
    pub(super) fn head(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Stream(head, _) => head,
        }
    }

    /// All of the recording, where it is in memory.
    pub(super) fn whole(&self) -> Option<&'a [u8]> {
        match self {
            Self::Memory(bytes) => Some(bytes),
            Self::Stream(..) => None,
        }
    }

    /// The bytes from `start` on as a source for a demuxer, and what the end of a stream will have been. Memory is said
    /// to be `claimed` bytes long if that is more than it is: demuxers refuse parts that go beyond the end of a file,
    /// where the end of the bytes would let them give what is there.
    pub(super) fn into_source(self, start: usize, seekable: bool, claimed: u64) -> (MediaSourceStream<'a>, Tail) {
        let tail = Tail::default();
        let source: Box<dyn MediaSource + 'a> = match self {
            Self::Memory(bytes) => {
                let bytes = &bytes[start..];
                let length = claimed.max(bytes.len() as u64);
                Box::new(Slice { bytes, length, position: 0, seekable, budget: 8 * bytes.len() as u64 + (1 << 26) })
            }
            Self::Stream(head, rest) => {
                let mut head = io::Cursor::new(head);
                head.set_position(start as u64);
                Box::new(Stream { inner: head.chain(rest), tail: tail.clone() })
            }
        };
        (MediaSourceStream::new(source, MediaSourceStreamOptions::default()), tail)
    }

    /// The bytes from `start` on as a plain reader.
    pub(super) fn into_reader(self, start: usize) -> Box<dyn Read + Send + Sync + 'a> {
        match self {
            Self::Memory(bytes) => Box::new(&bytes[start..]),
            Self::Stream(head, rest) => {
                let mut head = io::Cursor::new(head);
                head.set_position(start as u64);
                Box::new(head.chain(rest))
            }
        }
    }
}

/// The last bytes that were read of a stream.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    /// How many bytes are remembered at least: two Ogg pages of the greatest size.
    pub(super) const LENGTH: usize = 1 << 17;

    /// Calls `look` with the last bytes read.
    pub(super) fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn add(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tail.len() + bytes.len() > 2 * Self::LENGTH {
            let surplus = tail.len().saturating_sub(Self::LENGTH);
            tail.drain(..surplus);
        }
        tail.extend_from_slice(bytes);
    }
}

/// A recording in memory as a source for symphonia. It ends demuxers that read the same bytes over and over: more than
/// eight times the recording (plus 64 MiB, for small ones that seek about) is an error.
struct Slice<'a> {
    bytes: &'a [u8],
    /// The length that demuxers are told.
    length: u64,
    position: u64,
    seekable: bool,
    budget: u64,
}

impl Slice<'_> {
    fn spend(&mut self, cost: u64) -> io::Result<()> {
        self.budget = self
            .budget
            .checked_sub(cost)
            .ok_or_else(|| io::Error::other("the demuxer reads the same bytes over and over"))?;
        Ok(())
    }
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.position).ok().and_then(|at| self.bytes.get(at..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count as u64;
        self.spend(count as u64 + 16)?;
        Ok(count)
    }
}

impl Seek for Slice<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(offset) => (self.length, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        let position = base
            .checked_add_signed(offset)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))?;
        self.position = position;
        self.spend(256)?;
        Ok(position)
    }
}

impl MediaSource for Slice<'_> {
    fn is_seekable(&self) -> bool {
        self.seekable
    }

    fn byte_len(&self) -> Option<u64> {
        self.seekable.then_some(self.length)
    }
}

/// A stream as a source for symphonia, which remembers its last bytes.
struct Stream<R> {
    inner: R,
    tail: Tail,
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.tail.add(&buffer[..count]);
        Ok(count)
    }
}

impl<R> Seek for Stream<R> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a stream cannot be sought in"))
    }
}

impl<R: Read + Send + Sync> MediaSource for Stream<R> {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

/// Reads until `buffer` is full or the reader ends; how much that was.
pub(super) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
