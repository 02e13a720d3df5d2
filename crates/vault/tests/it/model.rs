//! The vault against a plain map. Random histories of two vaults (backups, forgetting, pruning in
//! both phases, copies either way, new passwords, lost index objects, machines that die, calls that
//! fail, full disks) are told to the map too; after each step both vaults hold exactly what the map
//! says, byte for byte, and at the end the stock restic finds nothing wrong either.
//!
//! The steps follow from a seed, which is printed. How blobs are spread over packs is left to
//! chance by the vault itself, so that the same seed is the same history and not the same packs.

mod world;

use lifeboat_testkit::Verb;
use lifeboat_vault::StoreErrorKind;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use self::world::World;

/// One of the two vaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Backups go here.
    Main = 0,
    /// Filled by copies alone.
    Other = 1,
}

/// What goes wrong during a step.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    /// The machine dies after so many writes.
    Dies(u64),
    /// A call fails once, with or without its effect.
    Fails {
        verb: Verb,
        nth: u64,
        kind: StoreErrorKind,
        after_effect: bool,
    },
    /// The disk has room for so many bytes.
    Full(u64),
}

/// Who does a step.
#[derive(Debug, Clone, Copy)]
enum By {
    /// A process that opens the vault for it.
    Fresh,
    /// The same with a local cache that all such processes share.
    Cached,
    /// A process that opened the vault at the beginning and loaded the index of then.
    Old,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Backup { changes: u64, seed: u64, parent: bool, by: By, trouble: Trouble },
    Forget { side: Side, picks: u16, by: By, trouble: Trouble },
    Prune { side: Side, waste: u64, at_once: bool, by: By, trouble: Trouble },
    Pass { hours: u64 },
    Copy { from: Side, picks: u16, by: By, trouble: Trouble },
    Restore { side: Side, pick: u16, by: By, trouble: Trouble },
    Rotate { trouble: Trouble },
    LoseIndex { side: Side, picks: u16, trouble: Trouble },
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let verb = prop_oneof![
        Just(Verb::Get),
        Just(Verb::Create),
        Just(Verb::List),
        Just(Verb::Stat),
        Just(Verb::Delete),
        Just(Verb::CreateLock),
        Just(Verb::RemoveLock),
    ];
    let fails = (verb, 1..7u64, any::<bool>()).prop_map(|(verb, nth, after_effect)| {
        Trouble::Fails { verb, nth, kind: StoreErrorKind::Unreachable, after_effect }
    });
    prop_oneof![
        5 => Just(Trouble::None),
        3 => (0..14u64).prop_map(Trouble::Dies),
        2 => fails,
        1 => (0..150_000u64).prop_map(Trouble::Full),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let side = || prop_oneof![3 => Just(Side::Main), 1 => Just(Side::Other)];
    let picks = any::<u16>();
    let by = prop_oneof![Just(By::Fresh), Just(By::Cached), Just(By::Old)];
    prop_oneof![
        6 => (1..10u64, any::<u64>(), any::<bool>(), by.clone(), trouble()).prop_map(
            |(changes, seed, parent, by, trouble)| Step::Backup { changes, seed, parent, by, trouble }
        ),
        4 => (side(), picks, by.clone(), trouble())
            .prop_map(|(side, picks, by, trouble)| Step::Forget { side, picks, by, trouble }),
        6 => (side(), 0..400_000u64, any::<bool>(), by.clone(), trouble()).prop_map(
            |(side, waste, at_once, by, trouble)| {
                // As often as not, none may stay.
                let waste = if waste > 200_000 { 0 } else { waste };
                Step::Prune { side, waste, at_once, by, trouble }
            }
        ),
        2 => (1..40u64).prop_map(|hours| Step::Pass { hours }),
        3 => (side(), picks, by.clone(), trouble())
            .prop_map(|(from, picks, by, trouble)| Step::Copy { from, picks, by, trouble }),
        1 => (side(), picks, by, trouble())
            .prop_map(|(side, pick, by, trouble)| Step::Restore { side, pick, by, trouble }),
        1 => trouble().prop_map(|trouble| Step::Rotate { trouble }),
        1 => (side(), picks, trouble())
            .prop_map(|(side, picks, trouble)| Step::LoseIndex { side, picks, trouble }),
    ]
}

/// `histories` histories of so many steps; panics with the shortest one found that goes wrong.
fn run(seed: u64, histories: u32, steps: std::ops::Range<usize>) {
    eprintln!("model: seed {seed}, {histories} histories");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: histories,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    // With one master key for both vaults packs are copied as they are, else sealed anew.
    let history = (any::<bool>(), proptest::collection::vec(step(), steps));
    let tally = std::cell::RefCell::new(Tally::default());
    let result = TestRunner::new_with_rng(config, rng).run(&history, |(one_key, steps)| {
        let mut world = World::new(one_key);
        for step in &steps {
            world.take(step);
        }
        world.end();
        tally.borrow_mut().add(&world.tally);
        Ok(())
    });
    match result {
        Ok(()) => {
            let tally = tally.into_inner();
            eprintln!("model: seed {seed}: {histories} histories hold; {tally:?}");
            assert!(tally.is_full(), "too little happened for a proof: {tally:?}");
        }
        Err(TestError::Fail(why, (one_key, steps))) => {
            panic!("seed {seed}: {why}\none master key: {one_key}, steps: {steps:#?}")
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}

/// How often each thing happened, so that a history in which nothing happens is noticed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tally {
    steps: u64,
    failed: u64,
    backups: u64,
    forgotten: u64,
    packs_marked: u64,
    packs_deleted: u64,
    packs_recovered: u64,
    copies: u64,
    restores: u64,
    rotations: u64,
}

impl Tally {
    /// Everything happened at least once.
    fn is_full(&self) -> bool {
        let Tally { failed, backups, forgotten, packs_marked, packs_deleted, .. } = *self;
        let Tally { copies, restores, rotations, .. } = *self;
        let all = [failed, backups, forgotten, packs_marked, packs_deleted, copies, rotations];
        all.iter().all(|count| *count > 0) && restores > 0
    }

    fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.failed += other.failed;
        self.backups += other.backups;
        self.forgotten += other.forgotten;
        self.packs_marked += other.packs_marked;
        self.packs_deleted += other.packs_deleted;
        self.packs_recovered += other.packs_recovered;
        self.copies += other.copies;
        self.restores += other.restores;
        self.rotations += other.rotations;
    }
}

/// EDO-04, EDO-12, X-17: a short piece of what `scripts/soak model` does at length.
#[test]
fn random_histories_hold_what_the_map_says() {
    run(3, 4, 30..40);
}

/// `scripts/soak model`: LIFEBOAT_SOAK_SEED and LIFEBOAT_SOAK_ROUNDS say which and how many.
#[test]
#[ignore = "long form, run by scripts/soak"]
fn soak_random_histories() {
    let number = |name: &str, default| {
        #[allow(clippy::disallowed_methods, reason = "the seed of a soak comes from outside")]
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number("LIFEBOAT_SOAK_ROUNDS", 40);
    run(number("LIFEBOAT_SOAK_SEED", 1), u32::try_from(rounds).unwrap(), 30..60);
}
