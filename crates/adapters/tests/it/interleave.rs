//! Lifeboat and the stock restic at work on one vault at the same time, each in processes of their
//! own that are killed and halted at random moments. Whatever happens, what either side said was
//! done is there and restores equal, what was forgotten is gone, `restic check --read-data` is
//! clean, and neither takes the other's living lock (EDO-04, EDO-12, AUD-15).
//!
//! A seed decides what runs and when it is hurt; how far it has come by then is up to the machine.

mod process;
mod scene;

use lifeboat_vault::Id;

use self::process::{End, Running, timed, wait};
use self::scene::{Dice, Scene, Tally};

/// A backup by restic that lives for as long as its input is open: its shared lock keeps out who
/// wants to remove something, and is still there afterwards.
#[test]
fn a_living_lock_of_restic_is_respected() {
    let mut scene = Scene::new(1);
    scene.back_up_both();
    let mut restic = scene.restic(&["backup", "--stdin", "--stdin-filename", "typed"]);
    let held = scene.wait_for_lock(&mut restic).expect("it is still there");
    let first = scene.some_id();
    assert_eq!(scene.lifeboat(&["prune", "0"]).end(), End::Locked);
    assert_eq!(scene.lifeboat(&["forget", &first.to_string()]).end(), End::Locked);
    scene.change();
    let ours = scene.lifeboat(&["backup"]).end();
    scene.done_backup(ours, true);
    assert!(scene.locks().contains(&held), "the living lock is gone");
    restic.finish_input();
    assert!(matches!(restic.end(), End::Done(_)));
    assert!(scene.locks().is_empty(), "{:?}", scene.locks());
    assert!(matches!(scene.lifeboat(&["prune", "0"]).end(), End::Done(_)));
    scene.typed_snapshot_goes();
    scene.whole();
}

/// restic's exclusive lock, of a process that is halted and of one that was killed.
#[test]
fn an_exclusive_lock_of_restic_counts_while_its_process_lives() {
    let mut scene = Scene::new(2);
    scene.back_up_both();
    for dies in [false, true] {
        let (mut restic, held) = scene.halted_restic();
        for refused in [&["backup"][..], &["prune", "0"], &["copy"]] {
            assert_eq!(scene.lifeboat(refused).end(), End::Locked, "{refused:?}");
        }
        assert_eq!(scene.locks(), [held]);
        if dies {
            restic.kill();
            assert_eq!(restic.end(), End::Killed);
        } else {
            restic.go_on();
            assert!(matches!(restic.end(), End::Done(_)));
        }
        // A lock whose process is gone is nobody's.
        let ours = scene.lifeboat(&["backup"]).end();
        scene.done_backup(ours, true);
        assert!(matches!(scene.lifeboat(&["prune", "0"]).end(), End::Done(_)));
        scene.whole();
    }
}

/// The other way round: restic keeps off while we are at it, and its `unlock` leaves our lock.
#[test]
fn restic_respects_our_locks() {
    let mut scene = Scene::new(3);
    scene.back_up_both();
    for (words, refused) in
        [(["held-backup", ""], &["prune"][..]), (["held-prune", "0"], &["backup", "media"])]
    {
        let mut ours = scene.lifeboat(&words);
        let held = scene.wait_for_lock(&mut ours).expect("it waits for its input");
        assert_eq!(scene.restic(refused).end(), End::Locked, "{refused:?}");
        assert!(matches!(scene.restic(&["unlock"]).end(), End::Done(_)));
        assert_eq!(scene.locks(), [held]);
        ours.finish_input();
        let end = ours.end();
        if words[0] == "held-backup" {
            scene.done_backup(end, true);
        } else {
            assert!(matches!(end, End::Done(_)));
        }
    }
    scene.whole();
}

/// What runs in a round, on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Backup,
    Forget(Vec<Id>),
    Prune,
    /// Lifeboat alone: with a grace, so that packs are marked.
    Mark,
    /// Lifeboat alone.
    Copy,
}

impl Work {
    fn by_restic(&self, scene: &Scene) -> Running {
        match self {
            Work::Forget(ids) => {
                let ids: Vec<String> = ids.iter().map(Id::to_string).collect();
                let mut words = vec!["forget", "--prune", "--max-unused", "0"];
                words.extend(ids.iter().map(String::as_str));
                scene.restic(&words)
            }
            Work::Prune => scene.restic(&["prune", "--max-unused", "0"]),
            Work::Backup | Work::Mark | Work::Copy => scene.restic(&["backup", "--json", "media"]),
        }
    }

    fn by_lifeboat(&self, scene: &Scene) -> Running {
        match self {
            Work::Backup => scene.lifeboat(&["backup"]),
            Work::Forget(ids) => {
                let ids: Vec<String> = ids.iter().map(Id::to_string).collect();
                let mut words = vec!["forget"];
                words.extend(ids.iter().map(String::as_str));
                scene.lifeboat(&words)
            }
            Work::Prune => scene.lifeboat(&["prune", "0"]),
            Work::Mark => scene.lifeboat(&["prune", "86400"]),
            Work::Copy => scene.lifeboat(&["copy"]),
        }
    }
}

fn work(scene: &mut Scene, dice: &mut Dice, restic: bool) -> Work {
    match dice.below(if restic { 8 } else { 12 }) {
        0..=3 => Work::Backup,
        4..=5 => Work::Forget(scene.pick_to_forget(dice)),
        6..=7 => Work::Prune,
        8..=9 => Work::Mark,
        _ => Work::Copy,
    }
}

/// One round: one process of each side and now and then a third, each started at its own moment;
/// about a third of them is killed, another third halted for a while. `pace` is about as long as one
/// takes by itself, in milliseconds.
fn round(scene: &mut Scene, dice: &mut Dice, pace: u64) {
    scene.change();
    let sides = [true, false, dice.below(2) == 0];
    let jobs = &sides[..2 + usize::from(dice.below(3) == 0)];
    let mut running = Vec::new();
    for restic in jobs.iter().copied() {
        let work = work(scene, dice, restic);
        wait(dice.below(pace));
        let process = if restic { work.by_restic(scene) } else { work.by_lifeboat(scene) };
        let hurt = dice.below(3);
        running.push((restic, work, process, hurt));
    }
    for (.., process, hurt) in &mut running {
        wait(dice.below(pace));
        match hurt {
            0 => process.kill(),
            1 => {
                process.halt();
                wait(dice.below(pace));
                process.go_on();
            }
            _ => {}
        }
    }
    for (restic, work, process, _) in running {
        let end = process.end();
        scene.note(format!("{} {work:?}: {end:?}", if restic { "restic" } else { "lifeboat" }));
        scene.count(&end);
        match work {
            Work::Forget(ids) => scene.done_forget(&ids, &end),
            Work::Copy if !restic => scene.done_copy(&end),
            Work::Backup | Work::Mark | Work::Copy if restic => scene.done_backup(end, false),
            Work::Backup => scene.done_backup(end, true),
            Work::Prune | Work::Mark | Work::Copy => {}
        }
    }
    scene.whole();
    // restic removes what its dead left only when told.
    assert!(matches!(scene.restic(&["unlock"]).end(), End::Done(_)));
}

/// Further rounds at most, if in those asked for too little happened: that depends on the machine.
const MORE: u64 = 40;

/// `rounds`, and further ones until it can be said that something was put to the test.
fn run(seed: u64, rounds: u64, enough: fn(&Tally) -> bool) {
    eprintln!("interleave: seed {seed}, {rounds} rounds");
    let mut scene = Scene::new(seed << 32);
    let mut dice = Dice::new(seed);
    let ((), both) = timed(|| scene.back_up_both());
    // It looks at all that is there too.
    let pace = (both / 4).max(20);
    eprintln!("interleave: a pace of {pace} ms");
    let mut number = 0;
    while number < rounds || (number < rounds + MORE && !enough(scene.tally())) {
        number += 1;
        scene.note(format!("round {number} of seed {seed}"));
        round(&mut scene, &mut dice, pace);
        if number % 5 == 0 {
            eprintln!("interleave: {number} of {rounds}; {:?}", scene.tally());
        }
    }
    eprintln!("interleave: seed {seed}: {number} rounds hold; {:?}", scene.tally());
    assert!(enough(scene.tally()), "too little happened: {:?}", scene.tally());
}

/// A short piece of what `scripts/soak interleave` does at length.
#[test]
fn random_interleavings_lose_nothing() {
    run(1, 4, Tally::is_lively);
}

/// `scripts/soak interleave`: LIFEBOAT_SOAK_SEED and LIFEBOAT_SOAK_ROUNDS say which and how many.
#[test]
#[ignore = "long form, run by scripts/soak"]
fn soak_random_interleavings() {
    let number = |name: &str, default| {
        #[allow(clippy::disallowed_methods, reason = "the seed of a soak comes from outside")]
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (seed, rounds) = (number("LIFEBOAT_SOAK_SEED", 2), number("LIFEBOAT_SOAK_ROUNDS", 60));
    run(seed, rounds, Tally::has_everything);
}

/// Lifeboat as another process: this test binary started again, told by the environment what to do.
#[test]
#[ignore = "the other process of the tests above; by itself it proves nothing, and fails"]
fn other_process() {
    process::be_the_other();
}
