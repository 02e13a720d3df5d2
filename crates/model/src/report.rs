//! The ten points on which each backup is checked (CSO-82), and the levels V1 to V4 that they
//! make up.
//!
//! V1 stored: 1-3. V2 readable: 4-5. V3 sound: 7. V4 restored and equal to its manifest: 6, 8-10.
//! A level is reached only if every level below it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::size::Size;
use crate::verdict::Verdict;

/// One of the ten points, in their order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The snapshot object and everything it needs are listed.
    Exists,
    /// Its size is neither 0 nor far from its predecessors'.
    SizePlausible,
    /// Its data objects are encrypted.
    Encrypted,
    /// Every object could be read and has the hash that its name says.
    Downloadable,
    /// Every object could be decrypted and unpacked.
    Extractable,
    /// It was restored to a folder.
    Restorable,
    /// The engine's own check of the copy passed.
    IntegrityVerified,
    /// Every table (for files: every path) of the manifest is there.
    TablesPresent,
    /// Every record (for files: every file's content) of the manifest is there.
    RecordsPresent,
    /// Contents equal the manifest's fingerprints.
    NoCorruption,
}

impl Point {
    /// All ten.
    pub const ALL: [Point; 10] = [
        Point::Exists,
        Point::SizePlausible,
        Point::Encrypted,
        Point::Downloadable,
        Point::Extractable,
        Point::Restorable,
        Point::IntegrityVerified,
        Point::TablesPresent,
        Point::RecordsPresent,
        Point::NoCorruption,
    ];

    /// 1 to 10.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The level that it belongs to, 1 to 4.
    pub fn level(self) -> u8 {
        match self {
            Point::Exists | Point::SizePlausible | Point::Encrypted => 1,
            Point::Downloadable | Point::Extractable => 2,
            Point::IntegrityVerified => 3,
            Point::Restorable
            | Point::TablesPresent
            | Point::RecordsPresent
            | Point::NoCorruption => 4,
        }
    }

    /// Its name for a database or for files.
    pub fn name(self, subject: Subject) -> &'static str {
        match (self, subject) {
            (Point::Exists, _) => "exists",
            (Point::SizePlausible, _) => "size plausible",
            (Point::Encrypted, _) => "encrypted",
            (Point::Downloadable, _) => "downloadable",
            (Point::Extractable, _) => "extractable",
            (Point::Restorable, Subject::Database) => "database restorable",
            (Point::Restorable, Subject::Files) => "files restorable",
            (Point::IntegrityVerified, _) => "integrity verified",
            (Point::TablesPresent, Subject::Database) => "all tables present",
            (Point::TablesPresent, Subject::Files) => "all paths present",
            (Point::RecordsPresent, Subject::Database) => "all records present",
            (Point::RecordsPresent, Subject::Files) => "all bytes present",
            (Point::NoCorruption, _) => "no corruption",
        }
    }
}

/// What a snapshot holds, for the wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Tables and records.
    Database,
    /// Paths and bytes.
    Files,
}

/// One judged point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// 1 to 10.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
}

/// The report, filled in point by point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenPoints {
    subject: Subject,
    lines: [Option<(Verdict, String)>; 10],
}

impl TenPoints {
    /// Nothing looked at yet.
    pub fn new(subject: Subject) -> Self {
        TenPoints { subject, lines: [const { None }; 10] }
    }

    /// Records what was found about a point. The worst of several findings stays.
    pub fn set(&mut self, point: Point, verdict: Verdict, found: impl Into<String>) {
        let line = &mut self.lines[usize::from(point.number()) - 1];
        match line {
            Some((before, _)) if rank(*before) >= rank(verdict) => {}
            _ => *line = Some((verdict, found.into())),
        }
    }

    /// The verdict on a point: what was not looked at is skipped if an earlier one failed, else
    /// inconclusive. Never a pass.
    pub fn verdict(&self, point: Point) -> Verdict {
        match &self.lines[usize::from(point.number()) - 1] {
            Some((verdict, _)) => *verdict,
            None if self.failed_before(point) => Verdict::Skipped,
            None => Verdict::Inconclusive,
        }
    }

    fn failed_before(&self, point: Point) -> bool {
        let before = &self.lines[..usize::from(point.number()) - 1];
        before.iter().flatten().any(|(verdict, _)| *verdict == Verdict::Fail)
    }

    /// All ten lines.
    pub fn lines(&self) -> Vec<Line> {
        let line = |point: Point| {
            let found = match &self.lines[usize::from(point.number()) - 1] {
                Some((_, found)) => found.clone(),
                None => "not looked at".to_owned(),
            };
            let (number, name) = (point.number(), point.name(self.subject).to_owned());
            Line { number, name, verdict: self.verdict(point), found }
        };
        Point::ALL.into_iter().map(line).collect()
    }

    /// The highest level reached: all its points and all below passed. `None`: not even V1.
    pub fn level(&self) -> Option<u8> {
        (1..=4).take_while(|level| self.verdict_of_level(*level) == Verdict::Pass).last()
    }

    /// The verdict on the points of one level.
    fn verdict_of_level(&self, level: u8) -> Verdict {
        let points = Point::ALL.into_iter().filter(|point| point.level() == level);
        Verdict::of(points.map(|point| self.verdict(point)))
    }

    /// The verdict on everything up to a level, 1 to 4.
    pub fn verdict_up_to(&self, level: u8) -> Verdict {
        let points = Point::ALL.into_iter().filter(|point| point.level() <= level);
        Verdict::of(points.map(|point| self.verdict(point)))
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Skipped => 1,
        Verdict::Inconclusive => 2,
        Verdict::Fail => 3,
    }
}

/// Point 2 (G-06): never 0, and within 50 to 200 % of the median of the last seven of the same
/// component, oldest first. Fewer than three earlier ones: only "not 0" is judged, and said.
pub fn size_plausible(bytes: u64, earlier: &[u64]) -> (Verdict, String) {
    let size = Size(bytes);
    if bytes == 0 {
        return (Verdict::Fail, "empty: 0 bytes".to_owned());
    }
    let recent = &earlier[earlier.len().saturating_sub(7)..];
    if recent.len() < 3 {
        let found =
            format!("{size}; too few earlier ones ({}) to compare, not empty", recent.len());
        return (Verdict::Pass, found);
    }
    let mut sorted = recent.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        sorted[middle - 1].midpoint(sorted[middle])
    } else {
        sorted[middle]
    };
    let percent = (u128::from(bytes) * 100).checked_div(u128::from(median));
    let within =
        u128::from(bytes) * 2 >= u128::from(median) && u128::from(bytes) <= u128::from(median) * 2;
    let verdict = if within { Verdict::Pass } else { Verdict::Fail };
    let of = percent.map_or_else(String::new, |percent| format!("{percent} % of "));
    let count = sorted.len();
    (verdict, format!("{size}, {of}the median {} of the last {count}", Size(median)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(upto: u8) -> TenPoints {
        let mut report = TenPoints::new(Subject::Database);
        for point in Point::ALL {
            if point.level() <= upto {
                report.set(point, Verdict::Pass, "ok");
            }
        }
        report
    }

    #[test]
    fn levels_are_reached_one_after_the_other() {
        assert_eq!(TenPoints::new(Subject::Files).level(), None);
        for level in 1..=4 {
            assert_eq!(passed(level).level(), Some(level));
            assert_eq!(passed(level).verdict_up_to(level), Verdict::Pass);
        }
        let mut report = passed(4);
        report.set(Point::Extractable, Verdict::Fail, "bad");
        assert_eq!(report.level(), Some(1));
    }

    #[test]
    fn what_was_not_looked_at_never_passes() {
        let report = passed(2);
        assert_eq!(report.verdict_up_to(4), Verdict::Inconclusive);
        assert_eq!(report.verdict(Point::NoCorruption), Verdict::Inconclusive);
        let mut report = TenPoints::new(Subject::Files);
        report.set(Point::Exists, Verdict::Fail, "gone");
        assert!(report.lines()[1..].iter().all(|line| line.verdict == Verdict::Skipped));
        assert_eq!(report.verdict_up_to(1), Verdict::Fail);
    }

    #[test]
    fn the_worst_finding_stays() {
        let mut report = passed(4);
        report.set(Point::NoCorruption, Verdict::Fail, "page 7");
        report.set(Point::NoCorruption, Verdict::Pass, "page 8");
        assert_eq!(report.lines()[9].found, "page 7");
        assert_eq!(report.verdict_up_to(4), Verdict::Fail);
    }

    #[test]
    fn ten_lines_cso_82() {
        let names = |subject| {
            passed(4).lines().len() == 10
                && Point::ALL.iter().all(|point| !point.name(subject).is_empty())
        };
        assert!(names(Subject::Database) && names(Subject::Files));
        assert_eq!(Point::ALL.map(Point::number), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn plausible_sizes_g_06() {
        let verdict = |bytes, earlier: &[u64]| size_plausible(bytes, earlier).0;
        assert_eq!(verdict(0, &[]), Verdict::Fail);
        assert_eq!(verdict(1, &[1000, 1000]), Verdict::Pass);
        assert_eq!(verdict(499, &[1000, 1000, 1000]), Verdict::Fail);
        assert_eq!(verdict(500, &[1000, 1000, 1000]), Verdict::Pass);
        assert_eq!(verdict(2000, &[1000, 1000, 1000]), Verdict::Pass);
        assert_eq!(verdict(2001, &[1000, 1000, 1000]), Verdict::Fail);
        // Only the last seven count.
        assert_eq!(
            verdict(900, &[9, 9, 9, 9, 9, 900, 900, 900, 900, 900, 900, 900]),
            Verdict::Pass
        );
        assert_eq!(verdict(u64::MAX, &[u64::MAX; 4]), Verdict::Pass);
        assert_eq!(verdict(5, &[0, 0, 0]), Verdict::Fail);
        let found = size_plausible(2048, &[]).1;
        assert_eq!(found, "2 KiB; too few earlier ones (0) to compare, not empty");
    }

    proptest! {
        #[test]
        fn an_empty_one_never_passes(earlier in prop::collection::vec(any::<u64>(), 0..9)) {
            prop_assert_eq!(size_plausible(0, &earlier).0, Verdict::Fail);
        }

        #[test]
        fn a_level_needs_every_point(missing in 0usize..10) {
            let mut report = TenPoints::new(Subject::Database);
            for (index, point) in Point::ALL.into_iter().enumerate() {
                if index != missing {
                    report.set(point, Verdict::Pass, "");
                }
            }
            let at = Point::ALL[missing].level();
            prop_assert_eq!(report.level(), (at > 1).then(|| at - 1));
            prop_assert_ne!(report.verdict_up_to(4), Verdict::Pass);
        }
    }
}
