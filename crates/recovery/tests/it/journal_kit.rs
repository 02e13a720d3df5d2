//! A journal in memory: tiers, a clock, a key, and a source that says what a test wants.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::chain::{MemorySigner, PublicKey, Signer};
use lifeboat_model::position::{LogPosition, Position};
use lifeboat_recovery::journal::{
    Appended, Journal, JournalError, JournalTier, PushTier, Pushing, ReadFrom, Settings, WalFile,
    Way, Writer, local_folder, push,
};
use lifeboat_recovery::ports::{Joint, LogEvent, LogRange, LogReader, LogStart, RecoverTo};
use lifeboat_recovery::seal::Sealer;
use lifeboat_recovery::state::State;
use lifeboat_testkit::SimClock;
use lifeboat_vault::{Cancel, Clock, NoMonitor, Store};
use serde_json::json;

pub const COMPONENT: &str = "orders";
pub const LINEAGE: &str = "00000000deadbeef";
/// Where the log of a test begins.
pub const BEGIN: u64 = 1000;

/// One identity for all tests of a process: sealing needs only its recipient.
pub fn identity() -> &'static str {
    static IDENTITY: OnceLock<String> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        use age::secrecy::ExposeSecret;
        age::x25519::Identity::generate().to_string().expose_secret().to_owned()
    })
}

pub fn sealer() -> Arc<Sealer> {
    use std::str::FromStr;
    let own = age::x25519::Identity::from_str(identity()).unwrap();
    let recipient = own.to_public().to_string();
    Arc::new(Sealer::new(&recipient, Some(identity())).unwrap())
}

/// The same without the identity.
pub fn closed() -> Arc<Sealer> {
    Arc::new(Sealer::new(&sealer().recipient(), None).unwrap())
}

pub fn signer(seed: u8) -> MemorySigner {
    MemorySigner::from_seed(&[seed; 32])
}

pub fn at(offset: u64) -> Position {
    Position::new(1, offset)
}

pub fn base(offset: u64) -> LogPosition {
    LogPosition { lineage: LINEAGE.to_owned(), position: at(offset) }
}

/// A host that streams.
pub struct Kit {
    pub folder: tempfile::TempDir,
    pub clock: Arc<SimClock>,
    pub tiers: Vec<JournalTier>,
    pub key: u8,
    pub sealer: Arc<Sealer>,
    pub spool: Option<u64>,
    pub host: &'static str,
}

pub fn tier(name: &str, store: Arc<dyn Store>, elsewhere: bool) -> JournalTier {
    JournalTier { name: name.to_owned(), store, elsewhere, late: false }
}

impl Kit {
    /// One tier, which does not lie on the host.
    pub fn new(store: Arc<dyn Store>) -> Kit {
        Kit {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
            tiers: vec![tier("offsite", store, true)],
            key: 1,
            sealer: sealer(),
            spool: None,
            host: "db1",
        }
    }

    pub fn state(&self) -> State {
        State::new(self.folder.path().join("state"))
    }

    pub fn local(&self) -> PathBuf {
        local_folder(&self.state(), COMPONENT)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            component: COMPONENT.to_owned(),
            host: self.host.to_owned(),
            tiers: self.tiers.clone(),
            every_tier: true,
            sealer: self.sealer.clone(),
            signer: Box::new(signer(self.key)),
            certificate: None,
            trusted: self.trusted(),
            state: self.state(),
            clock: self.clock.clone(),
            monitor: Arc::new(NoMonitor),
            spool: self.spool,
        }
    }

    /// Puts a file that a server handed over into the first tier.
    pub fn hand_over(&self, file: &WalFile) {
        let pushing = Pushing {
            component: COMPONENT,
            lineage: LINEAGE,
            host: "db1",
            sealer: &sealer(),
            signer: &signer(1),
            state: &self.state(),
            clock: &*self.clock,
        };
        let opens = || Ok((sealer(), self.trusted()));
        let tier = PushTier { tier: self.tiers[0].clone(), opens: Box::new(opens) };
        push(&pushing, vec![tier], &[], file).unwrap();
    }

    pub fn trusted(&self) -> Vec<PublicKey> {
        vec![signer(self.key).public_key()]
    }

    pub fn writer(&self) -> Writer {
        Writer::open(self.settings()).expect("the journal opens")
    }

    /// A stream that has begun, seamlessly where there is something.
    pub fn stream(&self) -> Writer {
        let mut writer = self.writer();
        let start = match writer.resume() {
            Some(resume) => start(resume.at, Joint::Seamless),
            None => start(base(BEGIN), Joint::NewLineage { why: "the first one".to_owned() }),
        };
        writer.begin(&start).expect("the stream begins");
        writer
    }

    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The next second of the log, ten bytes of which are written.
    pub fn range(&self, from: u64) -> LogEvent {
        self.pass(1);
        range(from, self.now())
    }

    /// Streams so many ranges; returns the end.
    pub fn ranges(&self, writer: &mut Writer, count: u64) -> u64 {
        let mut end = writer.end().unwrap().position.offset;
        for _ in 0..count {
            let event = self.range(end);
            assert_eq!(writer.append(&event).expect("the range is taken"), Appended::Stored);
            end += 10;
        }
        end
    }

    pub fn idle(&self, writer: &mut Writer, seconds: u64) {
        self.pass(seconds);
        let at = writer.end().unwrap().position;
        writer.append(&LogEvent::Idle { at, time: self.now() }).expect("the keepalive is taken");
    }

    pub fn read_from(&self, store: Arc<dyn Store>) -> ReadFrom {
        ReadFrom {
            store,
            sealer: sealer(),
            component: COMPONENT.to_owned(),
            trusted: self.trusted(),
            local: None,
            cancel: Cancel::default(),
        }
    }

    pub fn journal(&self) -> Journal {
        Journal::open(self.read_from(self.tiers[0].store.clone())).expect("the journal lists")
    }

    pub fn way(&self, from: u64, to: &RecoverTo) -> Result<Way, JournalError> {
        self.journal().way(&base(from), to)
    }
}

pub fn start(at: LogPosition, joint: Joint) -> LogStart {
    LogStart {
        at,
        joint,
        facts: [("engine".to_owned(), json!("test"))].into(),
        warnings: Vec::new(),
        source_keeps: true,
    }
}

pub fn range(from: u64, time: Timestamp) -> LogEvent {
    LogEvent::Range(LogRange {
        from: at(from),
        to: at(from + 10),
        time,
        bytes: log(from),
        facts: [("salt".to_owned(), json!(format!("{from:x}")))].into(),
    })
}

/// The ten bytes of the log at a place.
pub fn log(from: u64) -> Bytes {
    Bytes::from(format!("{from:010}"))
}

/// The log that a way gives, from its base to its target.
pub fn replay(way: &Way) -> Vec<u8> {
    let target = way.target().position;
    let pieces = way.pieces().iter().filter(|piece| piece.to <= target);
    pieces.flat_map(|piece| way.read(piece).expect("the piece reads").to_vec()).collect()
}

/// The log between two places.
pub fn logged(from: u64, to: u64) -> Vec<u8> {
    (from..to).step_by(10).flat_map(|at| log(at).to_vec()).collect()
}
