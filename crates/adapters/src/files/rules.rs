//! Which files of a component are captured: gitignore rules, as `git` reads them, relative to each
//! root.
//!
//! - `exclude`: the last matching pattern decides; `!` takes back; a trailing `/` means folders
//!   only; a leading or inner `/` ties a pattern to the root. Below an excluded folder nothing is
//!   looked at, so nothing there can be taken back (as with `git`).
//! - `include`, where given: of what is left, only matching files (and links, devices …) are kept;
//!   folders are kept so that they can be walked.
//! - A plan is no gitignore file: `#` does not begin a comment, `./x` means `/x`, and an empty
//!   pattern is an error instead of nothing.
//! - A root itself is never excluded: the plan names it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// A pattern that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("pattern '{pattern}' cannot be read")]
pub struct BadPattern {
    /// As the plan writes it.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    source: Option<ignore::Error>,
}

/// The rules of one component.
#[derive(Debug)]
pub struct Rules {
    roots: Vec<PathBuf>,
    exclude: Gitignore,
    include: Option<Gitignore>,
    keep_out: Vec<PathBuf>,
    /// What of `keep_out` and of unfinished restores was met.
    met: Mutex<Vec<PathBuf>>,
}

/// Part of the name of every folder of an unfinished restore; never somebody's data.
const UNFINISHED: &[u8] = b".lifeboat-partial-";

impl Rules {
    /// `roots` and `keep_out` are absolute, without symbolic links. `keep_out` (tiers, the state
    /// folder) is left out whatever the patterns say.
    pub fn new(
        roots: Vec<PathBuf>,
        include: &[String],
        exclude: &[String],
        keep_out: Vec<PathBuf>,
    ) -> Result<Rules, BadPattern> {
        let include = if include.is_empty() { None } else { Some(compile(include)?) };
        let exclude = compile(exclude)?;
        Ok(Rules { roots, exclude, include, keep_out, met: Mutex::default() })
    }

    /// True if the entry is to be captured. Asked top down: nothing below a refused folder.
    pub fn keeps(&self, absolute: &Path, is_dir: bool) -> bool {
        let Some(relative) = self.relative(absolute) else { return true };
        if self.is_kept_out(absolute) {
            self.met.lock().unwrap_or_else(PoisonError::into_inner).push(absolute.to_owned());
            return false;
        }
        if self.exclude.matched(relative, is_dir).is_ignore() {
            return false;
        }
        match &self.include {
            Some(include) if !is_dir => {
                include.matched_path_or_any_parents(relative, false).is_ignore()
            }
            _ => true,
        }
    }

    /// What was left out although no pattern says so: tiers, state folder, unfinished restores.
    pub fn kept_out(&self) -> Vec<PathBuf> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The path below its root; `None` for a root itself.
    fn relative<'a>(&self, absolute: &'a Path) -> Option<&'a Path> {
        let below = self.roots.iter().filter_map(|root| absolute.strip_prefix(root).ok());
        // The nearest root counts where one lies in another.
        below.min_by_key(|path| path.as_os_str().len()).filter(|p| !p.as_os_str().is_empty())
    }

    fn is_kept_out(&self, absolute: &Path) -> bool {
        self.keep_out.iter().any(|path| path == absolute)
            || absolute.file_name().is_some_and(is_unfinished)
    }
}

/// True for the folder of an unfinished restore.
pub(super) fn is_unfinished(name: &OsStr) -> bool {
    name.as_bytes().windows(UNFINISHED.len()).any(|part| part == UNFINISHED)
}

fn compile(patterns: &[String]) -> Result<Gitignore, BadPattern> {
    let bad = |pattern: &str, source| BadPattern { pattern: pattern.to_owned(), source };
    // Without a root of its own: it is asked for relative paths.
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    for pattern in patterns {
        if pattern.trim().trim_start_matches('!').is_empty() {
            return Err(bad(pattern, None));
        }
        let line = match pattern.as_bytes() {
            [b'#', ..] => format!("\\{pattern}"),
            [b'.', b'/', ..] => pattern[1..].to_owned(),
            _ => pattern.clone(),
        };
        builder.add_line(None, &line).map_err(|e| bad(pattern, Some(e)))?;
    }
    builder.build().map_err(|e| bad("", Some(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(include: &[&str], exclude: &[&str]) -> Rules {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let keep_out = vec![PathBuf::from("/srv/media/tier")];
        Rules::new(
            vec!["/srv/media".into(), "/etc".into()],
            &owned(include),
            &owned(exclude),
            keep_out,
        )
        .unwrap()
    }

    /// Walks down as the capture does: a path is kept if each folder above it is.
    fn kept(rules: &Rules, path: &str) -> bool {
        let path = Path::new(path);
        let is_dir = path.to_str().unwrap().ends_with('/');
        let above: Vec<_> = path.ancestors().skip(1).collect();
        above.into_iter().rev().all(|folder| rules.keeps(folder, true)) && rules.keeps(path, is_dir)
    }

    #[test]
    fn patterns_read_as_in_gitignore() {
        for (patterns, gone, left) in [
            (
                &["*.tmp"][..],
                &["/srv/media/a.tmp", "/srv/media/x/.tmp", "/etc/b.tmp"][..],
                &["/srv/media/a.tmp.jpg", "/srv/media/tmp"][..],
            ),
            (&["cache/"], &["/srv/media/cache/x", "/srv/media/a/cache/x"], &["/srv/media/cache"]),
            (&["/cache"], &["/srv/media/cache", "/etc/cache/x"], &["/srv/media/a/cache"]),
            (&["./cache"], &["/srv/media/cache"], &["/srv/media/a/cache"]),
            (
                &["a/b"],
                &["/srv/media/a/b", "/srv/media/a/b/c"],
                &["/srv/media/x/a/b", "/srv/media/a/bb"],
            ),
            (
                &["**/b/*.jpg"],
                &["/srv/media/b/1.jpg", "/srv/media/a/b/1.jpg"],
                &["/srv/media/a/b/c/1.jpg"],
            ),
            (&["a/**"], &["/srv/media/a/x", "/srv/media/a/x/y"], &["/srv/media/a"]),
            (&["a/**/z"], &["/srv/media/a/z", "/srv/media/a/b/c/z"], &["/srv/media/z"]),
            (
                &["*.log", "!keep.log"],
                &["/srv/media/a.log"],
                &["/srv/media/keep.log", "/srv/media/a/keep.log"],
            ),
            (&["logs/", "!logs/keep.log"], &["/srv/media/logs/keep.log"], &[]),
            (&["logs/*", "!logs/keep.log"], &["/srv/media/logs/a"], &["/srv/media/logs/keep.log"]),
            (&["!keep.log", "*.log"], &["/srv/media/keep.log"], &[]),
            (&["#recycle"], &["/srv/media/#recycle/x"], &["/srv/media/recycle"]),
            (&["[ab].txt"], &["/srv/media/a.txt"], &["/srv/media/c.txt"]),
            (&["?"], &["/srv/media/a"], &["/srv/media/ab"]),
            (&["media"], &["/srv/media/media"], &["/srv/media/x"]),
            (&["a*b"], &["/srv/media/aXb"], &["/srv/media/a/b"]),
        ] {
            let rules = rules(&[], patterns);
            for path in gone {
                assert!(!kept(&rules, path), "{patterns:?} must exclude {path}");
            }
            for path in left {
                assert!(kept(&rules, path), "{patterns:?} must leave {path}");
            }
        }
    }

    #[test]
    fn include_keeps_only_what_matches_and_exclude_is_stronger() {
        let rules = rules(&["*.jpg", "docs/", "!draft.jpg"], &["private/"]);
        for path in ["/srv/media/a.jpg", "/srv/media/x/y/a.jpg", "/srv/media/docs/a/b.txt"] {
            assert!(kept(&rules, path), "{path}");
        }
        for path in ["/srv/media/a.png", "/srv/media/draft.jpg", "/srv/media/private/a.jpg"] {
            assert!(!kept(&rules, path), "{path}");
        }
        assert!(rules.keeps(Path::new("/srv/media/any/folder"), true));
    }

    #[test]
    fn a_root_is_never_excluded() {
        let rules = rules(&["*.jpg"], &["*"]);
        assert!(rules.keeps(Path::new("/srv/media"), true));
        assert!(rules.keeps(Path::new("/etc"), false));
        assert!(!rules.keeps(Path::new("/srv/media/a"), true));
    }

    #[test]
    fn tiers_and_unfinished_restores_are_left_out_and_told() {
        let rules = rules(&[], &["!tier", "!*"]);
        assert!(!rules.keeps(Path::new("/srv/media/tier"), true));
        assert!(!rules.keeps(Path::new("/srv/media/x/media.lifeboat-partial-00ff"), true));
        assert!(rules.keeps(Path::new("/srv/media/tiers"), true));
        let told = ["/srv/media/tier", "/srv/media/x/media.lifeboat-partial-00ff"];
        assert_eq!(rules.kept_out(), told.map(PathBuf::from));
    }

    #[test]
    fn a_pattern_that_would_do_nothing_is_an_error() {
        for pattern in ["", "  ", "!", "a[", "{a"] {
            let patterns = [pattern.to_owned()];
            let error = Rules::new(vec![], &[], &patterns, vec![]).unwrap_err();
            assert_eq!(error.pattern, pattern);
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_by_bytes() {
        let rules = rules(&[], &["*.tmp"]);
        let name = |bytes: &[u8]| Path::new("/srv/media").join(OsStr::from_bytes(bytes));
        assert!(!rules.keeps(&name(b"\xff.tmp"), false));
        assert!(rules.keeps(&name(b"\xff.jpg"), false));
    }
}
