//! A tiny writer of PyTorch checkpoints, good and bad, so that the reader is tested without PyTorch.

/// A pickle being written; each method appends an instruction or two.
#[derive(Debug, Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    /// Instructions as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    /// A whole number.
    #[must_use]
    pub fn int(self, value: i64) -> Self {
        self.raw(b"\x8a\x08").raw(&value.to_le_bytes())
    }

    /// A tuple of whole numbers.
    #[must_use]
    pub fn sizes(self, sizes: &[usize]) -> Self {
        sizes.iter().fold(self.raw(b"("), |pickle, &size| pickle.int(size as i64)).raw(b"t")
    }

    /// A tensor: a view of the storage `key`, of `elements` of class `torch.CLASS`; offset and strides in elements.
    #[must_use]
    pub fn tensor(
        self,
        class: &str,
        key: &str,
        elements: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Self {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .raw(format!("ctorch\n{class}\n").as_bytes())
            .text(key)
            .text("cpu")
            .int(elements as i64)
            .raw(b"tQ")
            .int(offset as i64)
            .sizes(shape)
            .sizes(strides)
            .raw(b"\x89}tR")
    }
}

/// A zip archive of stored entries.
#[must_use]
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let sizes = [data.len() as u32, data.len() as u32];
        let mut shared = Vec::new();
        // Version, flags, method, time, date; checksum (not checked by the reader), both sizes, name length, extra length.
        shared.extend([20_u16, 0, 0, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
        shared.extend([0, sizes[0], sizes[1]].iter().flat_map(|field| field.to_le_bytes()));
        shared.extend([name.len() as u16, 0].iter().flat_map(|field| field.to_le_bytes()));
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&shared);
        // Comment length, disk, attributes; where the local header is.
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&shared);
        file.extend(name.as_bytes());
        file.extend(*data);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend((entries.len() as u16).to_le_bytes().repeat(2));
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A legacy file: `object` is its third pickle, `storages` are named and hold so many bytes per element.
#[must_use]
pub fn legacy(object: &[u8], storages: &[(&str, usize, &[u8])]) -> Vec<u8> {
    let keys =
        storages.iter().fold(Pickle::default().raw(b"\x80\x02]("), |pickle, (key, ..)| pickle.text(key)).raw(b"e.");
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(Pickle::default().raw(b"\x80\x02}").text("little_endian").raw(b"\x88s.").0);
    file.extend(object);
    file.extend(keys.0);
    for (_, size, data) in storages {
        file.extend(((data.len() / size) as u64).to_le_bytes());
        file.extend(*data);
    }
    file
}

/// A PyTorch file (zip) with a flat state dict of row-major f32 tensors: name, shape, values.
#[must_use]
pub fn state_dict(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let mut pickle = Pickle::default().raw(b"\x80\x02}");
    let mut entries = Vec::new();
    for (index, (name, shape, values)) in tensors.iter().enumerate() {
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        pickle =
            pickle.text(name).tensor("FloatStorage", &index.to_string(), values.len(), 0, shape, &strides).raw(b"s");
        entries.push((
            format!("archive/data/{index}"),
            values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>(),
        ));
    }
    let pickle = pickle.raw(b".").0;
    let mut all: Vec<(&str, &[u8])> = vec![("archive/data.pkl", &pickle)];
    all.extend(entries.iter().map(|(name, data)| (name.as_str(), data.as_slice())));
    zip(&all)
}
