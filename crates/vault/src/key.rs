//! Key objects: the master key, sealed by a key derived from a password with scrypt.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::crypto::Key;
use crate::error::{Error, Result};
use crate::polynomial::Polynomial;

/// The vault key as the user holds it: restic's password. Redacted in `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes over the bytes of a password.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Password(Zeroizing::new(bytes.into()))
    }

    /// The bytes; handle with care.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// How much work a guess of the password shall cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStrength {
    /// 256 random bits: nobody guesses them, so that opening stays quick.
    Generated,
    /// Typed by a person: about half a second of work for each guess.
    Typed,
}

/// Master key and chunk polynomial of a vault, so that another vault of the same plan can be made
/// with them and packs can be copied byte for byte. Redacted in `Debug`.
#[derive(Clone)]
pub struct MasterSeed {
    /// The key that seals every object.
    pub(crate) master: Key,
    /// What the cuts depend on.
    pub(crate) polynomial: Polynomial,
}

impl MasterSeed {
    /// From a master key and a polynomial.
    pub fn new(master: Key, polynomial: Polynomial) -> Self {
        MasterSeed { master, polynomial }
    }

    /// 72 secret bytes: encryption key, `k`, `r`, polynomial (little-endian).
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(72));
        bytes.extend_from_slice(&*self.master.to_bytes());
        bytes.extend_from_slice(&self.polynomial.bits().to_le_bytes());
        bytes
    }

    /// Reads what [`MasterSeed::to_bytes`] wrote; `None` if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, polynomial) = bytes.split_first_chunk::<64>()?;
        let polynomial = Polynomial::from_bits(u64::from_le_bytes(polynomial.try_into().ok()?))?;
        let master = Key::from_bytes(key);
        master.is_valid().then_some(MasterSeed { master, polynomial })
    }
}

impl std::fmt::Debug for MasterSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterSeed(..)")
    }
}

/// A key object as stored, in clear JSON. Fields that others add are passed over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyFile {
    /// When the key was made; unknown to some writers.
    #[serde(default, deserialize_with = "crate::node::time::optional")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default)]
    pub username: String,
    /// Where.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// Why a key object did not give the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyFailure {
    /// Another password, or (indistinguishably) changed bytes.
    Password,
    /// Not a key object.
    Damaged(String),
}

/// More memory than this for one derivation is taken for damage (scrypt needs 128 * N * r bytes).
const MEMORY_LIMIT: u64 = 1 << 30;
/// Bound of N * r * p, about 100 times restic's default cost.
const WORK_LIMIT: u64 = 1 << 28;

/// scrypt cost: N = 2^log_n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    log_n: u8,
    r: u32,
    p: u32,
}

const GENERATED: Cost = Cost { log_n: 15, r: 8, p: 1 };
/// Where time cannot be measured: about half a second on a machine of 2024.
const TYPED_UNMEASURED: Cost = Cost { log_n: 16, r: 8, p: 4 };

impl KeyFile {
    /// Seals `master` by a password.
    pub(crate) fn seal(
        master: &Key,
        password: &Password,
        strength: KeyStrength,
        clock: &dyn Clock,
        user: &str,
        host: &str,
    ) -> Result<Self> {
        let cost = match strength {
            KeyStrength::Generated => GENERATED,
            KeyStrength::Typed => calibrate(clock)?,
        };
        let mut salt = [0u8; 64];
        getrandom::fill(&mut salt)?;
        let derived = derive(password, &salt, cost).map_err(Error::Invalid)?;
        let data = derived.seal(&master.to_json()?)?;
        Ok(KeyFile {
            created: Some(clock.wall()),
            username: user.to_owned(),
            hostname: host.to_owned(),
            kdf: "scrypt".to_owned(),
            n: 1 << cost.log_n,
            r: cost.r,
            p: cost.p,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(data),
        })
    }

    /// Parses a key object without a password; one whose derivation would take more memory or time
    /// than any honest one is refused.
    pub fn parse(json: &[u8]) -> std::result::Result<Self, String> {
        let file: KeyFile =
            serde_json::from_slice(json).map_err(|error| format!("not a key file: {error}"))?;
        file.cost()?;
        STANDARD.decode(&file.salt).map_err(|_| "its salt is not base64".to_owned())?;
        STANDARD.decode(&file.data).map_err(|_| "its data is not base64".to_owned())?;
        Ok(file)
    }

    fn cost(&self) -> std::result::Result<Cost, String> {
        if self.kdf != "scrypt" {
            return Err(format!("unknown key derivation {}", self.kdf));
        }
        let (n, r, p) = (self.n, u64::from(self.r), u64::from(self.p));
        let memory = n.saturating_mul(r).saturating_mul(128);
        let work = n.saturating_mul(r).saturating_mul(p);
        let sensible = n.is_power_of_two() && n > 1 && r > 0 && p > 0;
        if !sensible || memory > MEMORY_LIMIT || work > WORK_LIMIT {
            return Err(format!("impossible scrypt cost N={n} r={r} p={p}"));
        }
        Ok(Cost { log_n: n.trailing_zeros() as u8, r: self.r, p: self.p })
    }

    /// The master key, if the password is the right one.
    pub(crate) fn open(&self, password: &Password) -> std::result::Result<Key, KeyFailure> {
        let base64 = |text: &str| {
            STANDARD.decode(text).map_err(|_| KeyFailure::Damaged("not base64".to_owned()))
        };
        let (salt, data) = (base64(&self.salt)?, base64(&self.data)?);
        let cost = self.cost().map_err(KeyFailure::Damaged)?;
        let derived = derive(password, &salt, cost).map_err(KeyFailure::Damaged)?;
        let json = Zeroizing::new(derived.open(&data).map_err(|_| KeyFailure::Password)?);
        Key::from_json(&json)
            .ok_or_else(|| KeyFailure::Damaged("its master key is not one".to_owned()))
    }
}

fn derive(password: &Password, salt: &[u8], cost: Cost) -> std::result::Result<Key, String> {
    let refused = || format!("impossible scrypt cost {cost:?}");
    let params = scrypt::Params::new(cost.log_n, cost.r, cost.p).map_err(|_| refused())?;
    let mut bytes = Zeroizing::new([0u8; 64]);
    scrypt::scrypt(password.expose(), salt, &params, &mut *bytes).map_err(|_| refused())?;
    Ok(Key::from_bytes(&bytes))
}

/// A cost of about half a second, in at most 64 MiB (restic's own limit is about the same).
fn calibrate(clock: &dyn Clock) -> Result<Cost> {
    const GOAL: Duration = Duration::from_millis(500);
    let probe = Cost { log_n: 14, r: 8, p: 1 };
    let start = clock.monotonic();
    derive(&Password::new(*b"calibration"), &[0; 64], probe).map_err(Error::Invalid)?;
    let taken = clock.monotonic().saturating_sub(start);
    if taken < Duration::from_micros(100) {
        return Ok(TYPED_UNMEASURED);
    }
    let mut factor = (GOAL.as_secs_f64() / taken.as_secs_f64()).max(2.0);
    let mut cost = probe;
    while factor >= 2.0 && cost.log_n < 16 {
        cost.log_n += 1;
        factor /= 2.0;
    }
    cost.p = (factor.round() as u32).clamp(1, 64);
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Each look at the monotonic clock moves it by a fixed step.
    struct Stepping(u64, AtomicU64);
    impl Clock for Stepping {
        fn wall(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.1.fetch_add(self.0, Ordering::SeqCst))
        }
        fn sleep(&self, _: Duration) {}
    }

    fn stepping(millis: u64) -> Stepping {
        Stepping(millis, AtomicU64::new(0))
    }

    #[test]
    fn seal_and_open() {
        let master = Key::generate().unwrap();
        let password = Password::new("correct horse");
        let clock = stepping(0);
        let file =
            KeyFile::seal(&master, &password, KeyStrength::Generated, &clock, "u", "h").unwrap();
        assert_eq!((file.n, file.r, file.p), (1 << 15, 8, 1));
        let mut json: serde_json::Value = serde_json::to_value(&file).unwrap();
        json["added_by_others"] = serde_json::json!({"x": 1});
        let read = KeyFile::parse(&serde_json::to_vec(&json).unwrap()).unwrap();
        assert_eq!(*read.open(&password).unwrap().to_bytes(), *master.to_bytes());
        let wrong = read.open(&Password::new("correct horsf")).unwrap_err();
        assert_eq!(wrong, KeyFailure::Password);
        assert_eq!(format!("{password:?}"), "Password(..)");
    }

    #[test]
    fn typed_keys_cost_about_half_a_second() {
        // 31 ms for the probe: 16 times as much work is half a second.
        assert_eq!(calibrate(&stepping(31)).unwrap(), Cost { log_n: 16, r: 8, p: 4 });
        assert_eq!(calibrate(&stepping(500)).unwrap(), Cost { log_n: 15, r: 8, p: 1 });
        assert_eq!(calibrate(&stepping(5)).unwrap(), Cost { log_n: 16, r: 8, p: 25 });
        assert_eq!(calibrate(&stepping(0)).unwrap(), TYPED_UNMEASURED);
    }

    #[test]
    fn hostile_costs_are_damage_and_not_an_allocation() {
        for (n, r, p) in
            [(0u64, 8, 1), (1, 8, 1), (3, 8, 1), (1 << 40, 8, 1), (1 << 15, 0, 1), (1 << 15, 8, 0)]
        {
            let json = format!(
                r#"{{"kdf":"scrypt","N":{n},"r":{r},"p":{p},"salt":"AAAA","data":"AAAA"}}"#
            );
            assert!(KeyFile::parse(json.as_bytes()).is_err(), "{json}");
        }
        let json = r#"{"kdf":"argon2","N":32768,"r":8,"p":1,"salt":"AAAA","data":"AAAA"}"#;
        assert!(KeyFile::parse(json.as_bytes()).unwrap_err().contains("argon2"));
    }

    #[test]
    fn seed_round_trip() {
        let seed = MasterSeed::new(Key::generate().unwrap(), Polynomial::generate().unwrap());
        let bytes = seed.to_bytes();
        assert_eq!(*MasterSeed::from_bytes(&bytes).unwrap().to_bytes(), *bytes);
        assert!(MasterSeed::from_bytes(&bytes[..71]).is_none());
        assert!(MasterSeed::from_bytes(&[0; 72]).is_none());
    }
}
