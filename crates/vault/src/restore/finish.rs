//! What can be set only when all content is there: hard links, then the folders' metadata.

use std::path::PathBuf;

use super::RestoreReport;
use super::existing::Aside;
use super::plan::Restore;
use crate::backup::Problem;
use crate::error::Result;
use crate::meta;
use crate::monitor::Stage;

/// A further name of a file.
pub(super) struct Link {
    pub(super) first: PathBuf,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

impl Restore<'_> {
    /// Makes hard links and gives the folders their metadata, the deepest first.
    pub(super) fn finish(mut self) -> Result<RestoreReport> {
        for Link { first, path, size } in std::mem::take(&mut self.links) {
            self.vault.stop_if_cancelled()?;
            let linked = match self.make_way_for_link(&first, &path) {
                Ok(false) => std::fs::hard_link(&first, &path).map(|()| 0),
                stands => stands.map(|_| size),
            };
            match linked {
                Ok(unchanged) => {
                    self.report.files += 1;
                    self.report.unchanged += unchanged;
                    self.report.bytes += size;
                    self.vault.environment().monitor.advance(Stage::Restore, size, 1);
                }
                Err(error) => self.failed_to_create(&path, "link it to its other name", error)?,
            }
        }
        for (path, node) in self.folders.iter().rev() {
            let handle = meta::Handle::Path(path);
            let mut failures = Vec::new();
            if self.aside.is_some() {
                failures.extend(meta::clear_other_attributes(node, handle));
            }
            failures.extend(meta::restore_metadata(node, handle));
            for (verb, error) in failures {
                self.report.problems.push(Problem::failed(path, &verb, error));
            }
        }
        self.report.aside = self.aside.as_ref().map(Aside::taken).unwrap_or_default();
        self.report.damaged.sort_by(|left, right| left.path.cmp(&right.path));
        self.report.problems.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(self.report)
    }
}
