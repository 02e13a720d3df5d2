//! Names of users and groups, read once from the system's two files.

use std::collections::HashMap;
use std::path::Path;

/// The names by number. Accounts that only a directory service knows have none; their numbers are
/// kept all the same.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads `/etc/passwd` and `/etc/group`; a missing one knows no names.
    pub fn of_system() -> Self {
        Self { users: read(Path::new("/etc/passwd")), groups: read(Path::new("/etc/group")) }
    }

    /// The user's name, or "".
    pub fn user(&self, uid: u32) -> &str {
        self.users.get(&uid).map_or("", String::as_str)
    }

    /// The group's name, or "".
    pub fn group(&self, gid: u32) -> &str {
        self.groups.get(&gid).map_or("", String::as_str)
    }
}

fn read(file: &Path) -> HashMap<u32, String> {
    parse(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()))
}

/// `name:password:number:…`, the first name of a number counts.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) =
            (fields.next(), fields.nth(1).map(str::parse::<u32>))
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n# note\nbad:x:y\n");
        assert_eq!(names.len(), 1);
        assert_eq!(names[&0], "root");
    }
}
