//! The hub's ETag: SHA-256 of a large file, git's SHA-1 of a small one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What a file's bytes must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksum {
    /// SHA-256 of the bytes: the hub's for files in its large-file storage.
    Sha256([u8; 32]),
    /// SHA-1 of `blob SIZE\0` and the bytes, git's name for the file: the hub's for all others.
    GitSha1([u8; 20]),
}

impl Checksum {
    /// An ETag as it came, quoted or not, weak or not; or the name of a blob in the cache.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().trim_start_matches("W/").trim_matches('"');
        if digits.len() == 64 { bytes(digits).map(Self::Sha256) } else { bytes(digits).map(Self::GitSha1) }
    }

    /// The checksum of the same kind that the file at `path` has.
    pub(super) fn of_file(self, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        match self {
            Self::Sha256(_) => Ok(Self::Sha256(hash(Sha256::new(), &mut file)?)),
            Self::GitSha1(_) => {
                Ok(Self::GitSha1(hash(Sha1::new().chain_update(format!("blob {bytes}\0")), &mut file)?))
            }
        }
    }
}

fn hash<H: Digest, const N: usize>(mut state: H, file: &mut File) -> io::Result<[u8; N]> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            bytes => state.update(&buffer[..bytes]),
        }
    }
    let mut sum = [0; N];
    sum.copy_from_slice(&state.finalize());
    Ok(sum)
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitSha1(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut sum = [0; N];
    if digits.len() != 2 * N || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, place) in sum.iter_mut().zip((0..2 * N).step_by(2)) {
        *byte = u8::from_str_radix(&digits[place..place + 2], 16).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_read_in_every_dress() {
        let sum = "ce013625030ba8dba906f756967f9e9ca394464a";
        for text in [sum.to_owned(), format!("\"{sum}\""), format!("W/\"{sum}\""), sum.to_uppercase()] {
            assert_eq!(Checksum::parse(&text).expect("a checksum").to_string(), sum);
        }
        for text in
            ["", "\"\"", "../../x", &sum[1..], "zz013625030ba8dba906f756967f9e9ca394464a", "ä".repeat(20).as_str()]
        {
            assert_eq!(Checksum::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sums_are_those_of_git_and_of_sha256sum() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "hello\n").expect("written");
        let git = Checksum::GitSha1([0; 20]).of_file(&path).expect("read");
        // `printf 'hello\n' | git hash-object --stdin`, and `| sha256sum`.
        assert_eq!(git.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        let sha256 = Checksum::Sha256([0; 32]).of_file(&path).expect("read");
        assert_eq!(sha256.to_string(), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    }
}
