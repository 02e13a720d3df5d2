//! Path arithmetic without looking at any file: where a written path leads, and where captured
//! paths stand in a snapshot's tree.

use std::path::{Component, Path, PathBuf};

/// Removes `.` and resolves `..` by the text alone; an absolute path cannot climb above its root.
pub fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir) => {}
                _ => out.push(".."),
            },
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// `path` against `base`, without `.` and `..`.
pub fn resolve(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    normal(&base.join(path))
}

/// A path below some folder, or `None` if it is absolute or climbs out. Empty for `.`.
pub fn inside(path: &str) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir if out.pop() => {}
            _ => return None,
        }
    }
    Some(out)
}

/// Where a captured path stands in the snapshot's tree: relative to `base` if it lies there (the
/// base itself takes its own name), else the absolute path without its root.
pub fn tree_path(base: &Path, absolute: &Path) -> PathBuf {
    let (base, path) = (normal(base), normal(absolute));
    let tree = match path.strip_prefix(&base) {
        Ok(rest) if rest.as_os_str().is_empty() => {
            PathBuf::from(base.file_name().unwrap_or_default())
        }
        Ok(rest) => rest.to_path_buf(),
        Err(_) => path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect::<PathBuf>(),
    };
    Path::new("/").join(tree)
}

/// True if `inner` is `outer` or lies in it. Both absolute and normal.
pub fn contains(outer: &Path, inner: &Path) -> bool {
    inner.starts_with(outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_is_lexical() {
        for (path, expected) in [
            ("/a/./b/../c", "/a/c"),
            ("/../..", "/"),
            ("a/../..", ".."),
            ("./", "."),
            ("/a//b/", "/a/b"),
        ] {
            assert_eq!(normal(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn inside_never_climbs_out() {
        assert_eq!(inside("a/b"), Some("a/b".into()));
        assert_eq!(inside("a/../b"), Some("b".into()));
        assert_eq!(inside("."), Some("".into()));
        assert_eq!(inside("../a"), None);
        assert_eq!(inside("a/../../b"), None);
        assert_eq!(inside("/etc"), None);
    }

    #[test]
    fn tree_paths_follow_the_contract() {
        let base = Path::new("/srv/app");
        for (path, tree) in [
            ("/srv/app/media", "/media"),
            ("/srv/app/data/media", "/data/media"),
            ("/etc/nginx", "/etc/nginx"),
            ("/srv/app", "/app"),
            ("/srv/app/", "/app"),
            ("/srv/application", "/srv/application"),
            ("/", "/"),
        ] {
            assert_eq!(tree_path(base, Path::new(path)), Path::new(tree), "{path}");
        }
    }
}
