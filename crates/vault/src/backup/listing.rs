//! The names in one folder, compact and in byte order.

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

/// Bytes of directory entries that one call to the kernel brings.
const AT_ONCE: usize = 32 << 10;

/// Sorted names; each is kept once, with its terminating NUL.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    bytes: Vec<u8>,
    names: Vec<Name>,
    /// Positions in name order: first what is no folder, then folders.
    order: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    start: u32,
    end: u32,
    kind: Option<bool>,
}

impl Listing {
    /// All names in an open folder, without `.` and `..`.
    pub(crate) fn read(folder: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut listing = Self::default();
        let mut buffer = vec![MaybeUninit::uninit(); AT_ONCE];
        let mut entries = RawDir::new(folder, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let is_folder = match entry.file_type() {
                FileType::Unknown => None,
                kind => Some(kind == FileType::Directory),
            };
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                listing.push(entry.file_name(), is_folder)?;
            }
        }
        listing.sort();
        Ok(listing)
    }

    /// A listing of one path, to be opened as it is.
    pub(crate) fn single(path: &OsStr) -> Result<Self, Errno> {
        let mut listing = Self::default();
        let path = CString::new(path.as_bytes()).map_err(|_| Errno::INVAL)?;
        listing.push(&path, None)?;
        listing.sort();
        Ok(listing)
    }

    fn push(&mut self, name: &CStr, kind: Option<bool>) -> Result<(), Errno> {
        let position = |length: usize| u32::try_from(length).map_err(|_| Errno::OVERFLOW);
        let start = position(self.bytes.len())?;
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.names.push(Name { start, end: position(self.bytes.len())?, kind });
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let text = |name: &Name| &bytes[name.start as usize..name.end as usize];
        self.names.sort_unstable_by(|left, right| text(left).cmp(text(right)));
        let folder = |name: &Name| name.kind == Some(true);
        let positions = |folders: bool| {
            let matching = self.names.iter().enumerate();
            matching.filter(move |(_, name)| folder(name) == folders).map(|(at, _)| at as u32)
        };
        self.order = positions(false).chain(positions(true)).collect();
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Where a batch that begins at `start` ends: folders are taken one by one.
    pub(crate) fn batch_end(&self, start: usize, most: usize) -> usize {
        let end = self.order.len().min(start + most);
        let batch = &self.order[start..end];
        let plain = batch.iter().take_while(|at| self.is_folder(**at) != Some(true)).count();
        end.min(start + plain.max(1))
    }

    /// The name at a position in name order.
    pub(crate) fn name(&self, position: u32) -> &CStr {
        let name = self.names[position as usize];
        CStr::from_bytes_with_nul(&self.bytes[name.start as usize..name.end as usize])
            .unwrap_or_default()
    }

    /// Whether the entry is a folder, as far as the listing told.
    pub(crate) fn is_folder(&self, position: u32) -> Option<bool> {
        self.names[position as usize].kind
    }

    /// The positions of a range of work: what is no folder comes first.
    pub(crate) fn work(&self, range: Range<usize>) -> &[u32] {
        &self.order[range]
    }
}
