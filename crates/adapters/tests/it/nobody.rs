//! Root may do everything, so a test about rights runs itself again as nobody.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "LIFEBOAT_TEST_AS_NOBODY";
const SEEN: &str = "seen as nobody";
/// The user and group that have no rights.
pub const NOBODY: u32 = 65534;

/// The test's folder, in the run as nobody.
#[allow(clippy::disallowed_methods)] // How a test talks to itself in a child process.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// The last word of the run as nobody: without it the test was not run.
pub fn seen() {
    println!("{SEEN}");
}

/// Runs the test `name` as nobody. `folder` must be within everybody's reach.
pub fn run(name: &str, folder: &Path) {
    // The test program itself may lie where nobody cannot reach it.
    let program = folder.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    again(Command::new(&program).uid(NOBODY).gid(NOBODY), name, folder);
}

/// Runs the test `name` as root of a container: processes outside are not seen, and leases on the
/// files of others are not to be had.
pub fn run_in_container(name: &str, folder: &Path) {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "setpriv", "--bounding-set=-lease"]);
    again(command.arg(program), name, folder);
}

fn again(command: &mut Command, name: &str, folder: &Path) {
    let done = command
        .args(["--exact", name, "--nocapture"])
        .env(VARIABLE, folder)
        .env("TMPDIR", "/var/tmp")
        .current_dir("/")
        .output()
        .expect("run this test as root, with util-linux (apt-get install util-linux)");
    let said = String::from_utf8_lossy(&done.stdout);
    let erred = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains(SEEN), "{said}\n{erred}");
}
