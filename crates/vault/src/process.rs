//! Which process holds a lock: a number alone is given to another process later on.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What is known of the process of a lock that names this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It lives.
    Lives,
    /// It is gone; another may have its number.
    Gone,
    /// It cannot be seen from here: only the lock's age tells.
    Unseen,
}

/// Tells a process from every other that has, had or will have its number: the boot, the space of
/// process numbers and the start in clock ticks since that boot. Nothing where the system does not
/// say. No clock that can be set plays a part.
pub(crate) fn birth(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in brackets and may hold anything.
    let start = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?;
    Some(format!("{}/{start}", here()?))
}

/// True if a process runs a program that is called restic, by whatever version or platform behind.
/// One that has ended and that nobody took note of runs nothing.
fn runs_restic(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    let Some((name, rest)) = stat.rsplit_once(')') else { return false };
    name.contains("restic") && !rest.trim_start().starts_with(['Z', 'X'])
}

/// This boot and this space of process numbers.
fn here() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::metadata("/proc/self/ns/pid").ok()?.ino();
    Some(format!("{}/{space}", boot.trim()))
}

/// What became of the process `pid` of this host that was born as `birth` (if its lock says so).
pub(crate) fn holder(pid: i64, born: Option<&str>) -> Holder {
    let number = i32::try_from(pid).ok().filter(|number| *number > 0).and_then(Pid::from_raw);
    let Some(number) = number else { return Holder::Unseen };
    let place = born.and_then(|born| born.rsplit_once('/')).map(|(place, _)| place);
    if place.is_some() && here().is_some_and(|here| place != Some(here.as_str())) {
        // Another boot, another machine of the same name, another space of process numbers (a
        // container's): the number means nothing here.
        return Holder::Unseen;
    }
    // Anything but a clear "no such process" counts as existing.
    if test_kill_process(number) == Err(Errno::SRCH) {
        return Holder::Gone;
    }
    match (born, u32::try_from(pid).ok().and_then(birth)) {
        (Some(then), Some(now)) if then != now => Holder::Gone,
        (Some(_), _) => Holder::Lives,
        // restic's locks do not say, and the number may be another process's by now. A restic that
        // lives keeps its lock, be it halted, or asleep with its machine; another one that was given
        // the number ends before long. Under any other name it makes its lock new every five minutes.
        (None, _) if u32::try_from(pid).is_ok_and(runs_restic) => Holder::Lives,
        (None, _) => Holder::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other_of_its_number() {
        let pid = std::process::id();
        let born = birth(pid).expect("/proc tells");
        assert_eq!(born, birth(pid).unwrap(), "the same at every look");
        assert_eq!(holder(i64::from(pid), Some(&born)), Holder::Lives);
        assert_eq!(holder(i64::from(pid), None), Holder::Unseen, "the number may be anybody's");
        let (place, _) = born.rsplit_once('/').unwrap();
        assert_eq!(holder(i64::from(pid), Some(&format!("{place}/1"))), Holder::Gone);
        let (boot, _) = place.split_once('/').unwrap();
        assert_eq!(holder(i64::from(pid), Some(&format!("{boot}/7/1"))), Holder::Unseen);
        assert_eq!(holder(i64::from(pid), Some("another-boot/7/1")), Holder::Unseen);
        assert_eq!(holder(-1, None), Holder::Unseen);
    }
}
