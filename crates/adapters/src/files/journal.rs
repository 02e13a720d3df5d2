//! What a swap is about to do, written down beside each root before the first rename.
//!
//! Several roots, or the entries of a mount point, cannot be renamed at once. A process that is
//! killed between two renames leaves this file, `.NAME.lifeboat-swap`; the next restore in place
//! puts the former state back ([`Step::backward`]), unless everything was done, and no backup
//! captures half a state. Paths are in hexadecimal, for they may hold any byte.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::exchange::{Entry, Step, folder, is_mount_point};
use super::renames::Renames;

/// How the name of a journal ends.
const SUFFIX: &str = ".lifeboat-swap";
/// First line; the number is the format.
const HEAD: &str = "lifeboat-swap 1";
/// Last line.
const END: &str = "end";

/// True for the file name of a journal.
pub(super) fn is_journal(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.') && name.as_bytes().ends_with(SUFFIX.as_bytes())
}

/// Where the journal of a root stands: beside it, or in it if it is a mount point.
pub(super) fn path(live: &Path) -> PathBuf {
    named(live, SUFFIX)
}

fn named(live: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(live.file_name().unwrap_or_default());
    name.push(suffix);
    if is_mount_point(live) { live.join(name) } else { folder(live).join(name) }
}

/// Writes the journal of all steps beside each root; durable when it returns.
pub(super) fn write(renames: &dyn Renames, steps: &[Step]) -> io::Result<()> {
    let body = encode(steps);
    for step in steps {
        let (unfinished, path) = (named(&step.live, ".lifeboat-partial-swap"), path(&step.live));
        fs::create_dir_all(folder(&path))?;
        renames.write_down(&unfinished, &path, body.as_bytes())?;
    }
    Ok(())
}

/// Removes the journals of these steps.
pub(super) fn remove(renames: &dyn Renames, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        let path = path(&step.live);
        match renames.strike_out(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.and_then(|()| renames.sync(folder(&path)))?,
        }
    }
    Ok(())
}

/// The steps of a swap that did not come to its end and concerns this root.
pub(super) fn read(live: &Path) -> io::Result<Option<Vec<Step>>> {
    match fs::read_to_string(path(live)) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(e),
        Ok(body) => match decode(&body) {
            Some(steps) => Ok(Some(steps)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a journal")),
        },
    }
}

/// True if all steps were carried out, or none.
pub(super) fn is_whole(steps: &[Step]) -> io::Result<bool> {
    let each = |is: fn(&Step) -> io::Result<bool>| {
        steps.iter().try_fold(true, |whole, step| Ok::<_, io::Error>(whole && is(step)?))
    };
    Ok(each(Step::is_done)? || each(Step::is_undone)?)
}

fn encode(steps: &[Step]) -> String {
    let mut body = format!("{HEAD}\n");
    let hex = |path: &Path| hex::encode(path.as_os_str().as_bytes());
    for step in steps {
        // For people.
        body += &format!("# {:?}, kept as {:?}\n", step.live, step.kept);
        let within = if step.within { "entries" } else { "root" };
        let (live, kept, spare) = (hex(&step.live), hex(&step.kept), hex(&step.spare));
        body += &format!("step {within} {live} {kept} {spare}\n");
        for (word, entries) in [("old", &step.old), ("new", &step.new), ("carry", &step.carried)] {
            for entry in entries {
                body += &format!("{word} {} {}\n", entry.inode, hex(&entry.path));
            }
        }
    }
    body + END + "\n"
}

fn decode(body: &str) -> Option<Vec<Step>> {
    let path = |text: &str| Some(PathBuf::from(OsString::from_vec(hex::decode(text).ok()?)));
    let mut lines = body.lines();
    if lines.next() != Some(HEAD) {
        return None;
    }
    let mut steps: Vec<Step> = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", ..] => {}
            [END] => return Some(steps),
            ["step", within @ ("entries" | "root"), live, kept, spare] => steps.push(Step {
                live: path(live)?,
                kept: path(kept)?,
                spare: path(spare)?,
                within: within == "entries",
                old: Vec::new(),
                new: Vec::new(),
                carried: Vec::new(),
            }),
            [word, inode, entry] => {
                let step = steps.last_mut()?;
                let entry = Entry { path: path(entry)?, inode: inode.parse().ok()? };
                match word {
                    "old" => step.old.push(entry),
                    "new" => step.new.push(entry),
                    "carry" => step.carried.push(entry),
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_reads_back_as_it_was_written_and_a_part_of_it_is_none() {
        let entry =
            |path: &[u8]| Entry { path: OsString::from_vec(path.to_vec()).into(), inode: 7 };
        let step = Step {
            live: "/srv/a b\n".into(),
            kept: "/srv/kept".into(),
            spare: "/srv/spare".into(),
            within: true,
            old: vec![entry(b"\xff"), entry(b"")],
            new: vec![entry(b"x")],
            carried: vec![entry(b"sub/y.tmp")],
        };
        let steps = [step.clone(), Step { within: false, ..step }];
        let body = encode(&steps);
        assert_eq!(decode(&body).unwrap(), steps);
        for end in 0..body.len() - 1 {
            assert_eq!(decode(&body[..end]), None, "{end}");
        }
    }
}
