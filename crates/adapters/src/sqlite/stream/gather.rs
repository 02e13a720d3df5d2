//! The newest images of the pages that a batch of commits changed, as they are read from the log.
//! What exceeds the budget stays in the log, which then cannot start over, and is read from there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::frames::Frame;
use super::sum::lock_page;

/// Where an image is.
enum Image {
    Here(Vec<u8>),
    /// At this offset of the log.
    There(u64),
}

/// See the module.
#[derive(Default)]
pub(super) struct Gather {
    pages: BTreeMap<u32, Image>,
    bytes: usize,
    spilled: bool,
    /// Pages of the database after the last commit.
    pub page_count: u32,
}

impl Gather {
    /// Takes a frame; images beyond `budget` bytes stay where they are.
    pub fn take(&mut self, frame: &Frame<'_>, budget: usize) {
        let image = if self.bytes + frame.image.len() <= budget {
            self.bytes += frame.image.len();
            Image::Here(frame.image.to_vec())
        } else {
            self.spilled = true;
            Image::There(frame.at)
        };
        if let Some(Image::Here(old)) = self.pages.insert(frame.page, image) {
            self.bytes -= old.len();
        }
    }

    /// Nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.page_count == 0
    }

    /// Some images are only in the log.
    pub fn is_spilled(&self) -> bool {
        self.spilled
    }

    /// Takes out what is no page of the database any more, and the one that holds the locks.
    pub fn settle(&mut self, page_size: u32) {
        let (count, lock) = (self.page_count, lock_page(page_size));
        self.pages.retain(|page, _| *page <= count && *page != lock);
    }

    /// The next page, in order of their numbers; the image goes into `image`.
    pub fn pop(
        &mut self,
        log: Option<&File>,
        image: &mut Vec<u8>,
        size: usize,
    ) -> io::Result<Option<u32>> {
        let Some((page, found)) = self.pages.pop_first() else { return Ok(None) };
        match found {
            Image::Here(bytes) => *image = bytes,
            Image::There(at) => {
                image.resize(size, 0);
                log.ok_or(io::ErrorKind::NotFound)?.read_exact_at(image, at)?;
            }
        }
        Ok(Some(page))
    }

    /// True once every page was taken.
    pub fn is_done(&self) -> bool {
        self.pages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(gather: &mut Gather, log: Option<&File>) -> Vec<(u32, u8)> {
        let (mut found, mut image) = (Vec::new(), Vec::new());
        while let Some(page) = gather.pop(log, &mut image, 512).unwrap() {
            assert_eq!(image.len(), 512);
            found.push((page, image[0]));
        }
        found
    }

    /// SQLite writes no frame for that page; should one be there all the same, it goes nowhere.
    #[test]
    fn the_page_of_locks_is_not_gathered() {
        let lock = lock_page(512);
        let mut gather = Gather { page_count: lock + 1, ..Gather::default() };
        for page in [lock - 1, lock, lock + 1, lock + 2] {
            gather.take(&Frame { page, at: 0, image: &[7; 512] }, 1 << 20);
        }
        gather.settle(512);
        assert_eq!(taken(&mut gather, None), [(lock - 1, 7), (lock + 1, 7)]);
    }

    /// The newest image counts, wherever it is kept.
    #[test]
    fn what_exceeds_the_budget_is_read_from_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let images: Vec<u8> = (0..4_u8).flat_map(|byte| [byte; 512]).collect();
        std::fs::write(&path, &images).unwrap();
        let log = File::open(path).unwrap();
        let mut gather = Gather { page_count: 9, ..Gather::default() };
        for (number, page) in [(0, 3), (1, 5), (2, 3), (3, 4)] {
            let at = number * 512;
            let image = &images[at..at + 512];
            gather.take(&Frame { page, at: at as u64, image }, 1024);
        }
        assert!(gather.is_spilled());
        assert_eq!(taken(&mut gather, Some(&log)), [(3, 2), (4, 3), (5, 1)]);
        assert!(gather.is_done());
    }
}
