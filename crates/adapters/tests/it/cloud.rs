//! Tiers in object stores: the duties of a store on each service, and what is believed of servers that
//! misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lifeboat_adapters::SystemClock;
use lifeboat_adapters::store::Prefixed;
use lifeboat_adapters::store::cloud::{
    CloudOptions, CloudPlace, CloudTier, Credentials, Patience, Service,
};
use lifeboat_recovery::ports::{Place, Presence};
use lifeboat_testkit::cloud::{Azurite, Dialect, Front, Moto, Trouble};
use lifeboat_testkit::contract;
use lifeboat_vault::{DeleteStore, Store, StoreError, StoreErrorKind};

const BUCKET: &str = "shop-backups";
/// A key whose form gives Google's client nothing to sign with, and nobody to ask for a token.
const GOOGLE_KEY: &str =
    r#"{"private_key":"x","private_key_id":"x","client_email":"x","disable_oauth":true}"#;

/// Quick to give up, as a test wants it.
fn impatient() -> Patience {
    Patience {
        connect: Duration::from_secs(2),
        silence: Duration::from_secs(20),
        retries: 2,
        total: Duration::from_secs(20),
        pause: Duration::from_millis(5),
    }
}

fn pair(keys: (&str, &str)) -> Credentials {
    let file =
        format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", keys.0, keys.1);
    Credentials::from_aws_file(&file).unwrap()
}

fn options(service: Service, url: &str, credentials: Credentials, prefix: &str) -> CloudOptions {
    CloudOptions {
        service,
        bucket: BUCKET.to_owned(),
        prefix: prefix.to_owned(),
        place: format!("cloud://{BUCKET}/{prefix}"),
        endpoint: Some(url.to_owned()),
        region: None,
        storage_class: None,
        credentials,
        patience: impatient(),
    }
}

fn open(options: &CloudOptions) -> Arc<CloudTier> {
    Arc::new(CloudTier::new(options, Arc::new(SystemClock::new())).unwrap())
}

fn place(options: &CloudOptions) -> CloudPlace {
    CloudPlace::new(options, Arc::new(SystemClock::new())).unwrap()
}

/// The options of a tier in a front, in its region.
fn of_front(front: &Front, dialect: Dialect, prefix: &str) -> CloudOptions {
    match dialect {
        Dialect::S3 => CloudOptions {
            region: Some(Front::REGION.to_owned()),
            ..options(Service::S3, &front.url(), pair(Front::KEYS), prefix)
        },
        Dialect::Google => {
            let key = Credentials::from_google_file(GOOGLE_KEY).unwrap();
            options(Service::Google, &front.url(), key, prefix)
        }
    }
}

/// An S3 of our own with one tier in it.
fn s3() -> (Front, Arc<CloudTier>) {
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let tier = open(&of_front(&front, Dialect::S3, "dr"));
    (front, tier)
}

fn put(store: &dyn Store, key: &str, body: &'static [u8]) -> Result<(), StoreError> {
    store.create(key, &[Bytes::from_static(body)])
}

#[track_caller]
fn refused<T>(result: Result<T, StoreError>, kind: StoreErrorKind, says: &str, hint: &str) {
    let Err(error) = result else { panic!("it succeeded, {kind:?} was expected") };
    assert_eq!(error.kind, kind, "{error:?}");
    let advice = error.advice().unwrap_or_else(|| panic!("no advice: {error:?}"));
    assert!(advice.what.contains(says), "{says:?} is not in {:?}", advice.what);
    assert!(advice.hint.contains(hint), "{hint:?} is not in {:?}", advice.hint);
}

/// The whole contract, each store below a prefix of its own.
fn keeps_the_contract(of: impl Fn(&str) -> CloudOptions) {
    let made = AtomicUsize::new(0);
    let make = || open(&of(&format!("dr/{}", made.fetch_add(1, Ordering::SeqCst))));
    contract::store(|| make());
    contract::store(|| Arc::new(Prefixed::new(make(), "vault")));
    contract::delete(|| {
        let tier = make();
        (tier.clone(), Arc::new(tier.deleter()))
    });
    contract::lock(|| {
        let place = place(&of(&format!("dr/{}", made.fetch_add(1, Ordering::SeqCst))));
        let opened = place.open(true).unwrap();
        (opened.vault, opened.locks)
    });
}

#[test]
fn an_s3_of_our_own_does_the_duties_of_a_store() {
    let front = Front::start(Dialect::S3, BUCKET, 70);
    keeps_the_contract(|prefix| of_front(&front, Dialect::S3, prefix));
}

/// In Google's dialect; Google itself was not run against.
#[test]
fn a_google_of_our_own_does_the_duties_of_a_store() {
    let front = Front::start(Dialect::Google, BUCKET, 70);
    keeps_the_contract(|prefix| of_front(&front, Dialect::Google, prefix));
}

#[test]
fn moto_does_the_duties_of_a_store() {
    let moto = Moto::start(70);
    moto.bucket(BUCKET);
    keeps_the_contract(|prefix| options(Service::S3, &moto.url(), pair(Moto::KEYS), prefix));
}

#[test]
fn azurite_does_the_duties_of_a_store() {
    let azurite = Azurite::start();
    azurite.container(BUCKET);
    let credentials = Credentials::from_connection_string(&azurite.connection_string()).unwrap();
    let of = |prefix: &str| CloudOptions {
        endpoint: None,
        ..options(Service::Azure, "", credentials.clone(), prefix)
    };
    keeps_the_contract(of);
    let missing = CloudOptions { bucket: "no-such-container".into(), ..of("dr") };
    refused(
        place(&missing).look(),
        StoreErrorKind::Unreachable,
        "there is no bucket or container no-such-container",
        "make it",
    );
    let wrong = azurite.connection_string().replace(Azurite::KEY, "d3Jvbmc=");
    let credentials = Credentials::from_connection_string(&wrong).unwrap();
    let wrong = CloudOptions { credentials, ..of("dr") };
    // Azure itself says AuthenticationFailed.
    refused(place(&wrong).look(), StoreErrorKind::Denied, "failed to authenticate", "credential");
}

#[test]
fn a_place_is_looked_at_without_a_trace() {
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let options = of_front(&front, Dialect::S3, "dr");
    let place = place(&options);
    front.put(BUCKET, "drive/x", b"a neighbour");
    assert_eq!(place.look().unwrap(), Presence::Empty);
    // What a console makes for a folder.
    front.put(BUCKET, "dr/", b"");
    assert_eq!(place.look().unwrap(), Presence::Empty);
    front.put(BUCKET, "dr/notes/a", b"x");
    assert_eq!(place.look().unwrap(), Presence::Other(vec!["notes".into()]));
    front.put(BUCKET, "dr/vault/keys/ab", b"x");
    assert_eq!(place.look().unwrap(), Presence::Vault);
    assert!(front.log().iter().all(|line| !line.starts_with("PUT")));
}

#[test]
fn a_conflict_without_an_object_is_not_believed() {
    let (front, tier) = s3();
    front.trouble(1, "PUT", "config", Trouble::Answer(409, "ConditionalRequestConflict"));
    put(&*tier, "vault/config", b"x").unwrap();
    assert_eq!(front.body(BUCKET, "dr/vault/config").unwrap(), b"x");
    front.trouble(99, "PUT", "other", Trouble::Answer(412, "PreconditionFailed"));
    refused(put(&*tier, "other", b"x"), StoreErrorKind::Unreachable, "shows none", "try again");
}

#[test]
fn a_create_whose_answer_was_lost_is_looked_at() {
    for trouble in [Trouble::DoneAndCut, Trouble::DoneAnd(500, "InternalError"), Trouble::Cut] {
        let (front, tier) = s3();
        front.trouble(1, "PUT", "config", trouble);
        put(&*tier, "vault/config", b"ours").unwrap_or_else(|e| panic!("{trouble:?}: {e:?}"));
        assert_eq!(front.body(BUCKET, "dr/vault/config").unwrap(), b"ours", "{trouble:?}");
    }
}

#[test]
fn another_ones_object_is_never_taken_for_ours() {
    for trouble in [Trouble::Cut, Trouble::Answer(503, "SlowDown"), Trouble::DoneAndCut] {
        let (front, tier) = s3();
        front.put(BUCKET, "dr/vault/config", b"theirs");
        front.trouble(1, "PUT", "config", trouble);
        let error = put(&*tier, "vault/config", b"ours..").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Exists, "{trouble:?}: {error:?}");
        assert_eq!(front.body(BUCKET, "dr/vault/config").unwrap(), b"theirs");
    }
}

#[test]
fn a_refusal_that_waiting_does_not_mend_is_not_tried_again() {
    let (front, tier) = s3();
    front.trouble(9, "PUT", "config", Trouble::Answer(403, "AccessDenied"));
    refused(put(&*tier, "config", b"x"), StoreErrorKind::Denied, "403 AccessDenied", "right");
    assert_eq!(front.log(), ["PUT shop-backups/dr/config"], "one request and no more");
    front.trouble(9, "GET", "config", Trouble::Answer(400, "ExpiredToken"));
    refused(tier.get("config"), StoreErrorKind::Denied, "has expired", "renew");
    assert_eq!(front.log().len(), 1);
}

#[test]
fn a_server_in_trouble_is_asked_again_a_bounded_number_of_times() {
    let (front, tier) = s3();
    put(&*tier, "config", b"x").unwrap();
    front.trouble(2, "GET", "config", Trouble::Answer(503, "SlowDown"));
    assert_eq!(&tier.get("config").unwrap()[..], b"x");
    front.log();
    front.trouble(99, "GET", "config", Trouble::Answer(503, "SlowDown"));
    refused(tier.get("config"), StoreErrorKind::Unreachable, "503 SlowDown", "try again later");
    assert_eq!(front.log().len(), 3, "the first try and two more");
}

#[test]
fn what_was_stored_wrong_is_noticed() {
    for dialect in [Dialect::S3, Dialect::Google] {
        let front = Front::start(dialect, BUCKET, 1000);
        let tier = open(&of_front(&front, dialect, "dr"));
        for trouble in [Trouble::Damage, Trouble::DamageUntold] {
            let key = format!("vault/data/{trouble:?}");
            front.trouble(1, "PUT", &key, trouble);
            let error = put(&*tier, &key, b"pack").unwrap_err();
            let cause = error.source.as_ref().unwrap().to_string();
            assert!(cause.contains("other bytes than were sent"), "{trouble:?}: {cause}");
        }
        // Where no checksum is told the object is read back, and only there.
        front.trouble(1, "PUT", "untold", Trouble::Untold);
        front.log();
        put(&*tier, "untold", b"pack").unwrap();
        put(&*tier, "told", b"pack").unwrap();
        let asked = ["PUT shop-backups/dr/untold", "GET shop-backups/dr/untold"];
        assert_eq!(front.log(), [asked[0], asked[1], "PUT shop-backups/dr/told"]);
    }
}

#[test]
fn a_listing_is_whole_or_an_error() {
    let front = Front::start(Dialect::S3, BUCKET, 3);
    let tier = open(&of_front(&front, Dialect::S3, "dr"));
    let keys: Vec<String> = (0..20).map(|n| format!("vault/index/{n:02}")).collect();
    for key in &keys {
        front.put(BUCKET, &format!("dr/{key}"), b"x");
    }
    let listed = |tier: &CloudTier| tier.list("vault/index").map(|found| found.len());
    assert_eq!(listed(&tier).unwrap(), 20);
    for trouble in [Trouble::CutListing, Trouble::Answer(403, "AccessDenied"), Trouble::Cut] {
        front.trouble(99, "LIST", "", trouble);
        assert!(listed(&tier).is_err(), "{trouble:?}");
        front.forgive();
    }
    front.trouble(1, "LIST", "", Trouble::HalfAnAnswer);
    if let Ok(found) = listed(&tier) {
        assert_eq!(found, 20);
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_the_whole() {
    let (front, tier) = s3();
    let body: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    front.put(BUCKET, "dr/pack", &body);
    front.trouble(1, "GET", "pack", Trouble::HalfAnAnswer);
    if let Ok(found) = tier.get("pack") {
        assert_eq!(found, body);
    }
    front.forgive();
    front.trouble(99, "GET", "pack", Trouble::HalfAnAnswer);
    match tier.get_range("pack", 1000, 100_000) {
        Ok(found) => assert_eq!(found, body[1000..101_000]),
        Err(error) => assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error:?}"),
    }
}

#[test]
fn a_bucket_that_is_gone_is_no_missing_object() {
    let (front, tier) = s3();
    put(&*tier, "vault/config", b"x").unwrap();
    front.remove_bucket(BUCKET);
    for error in [
        tier.stat("vault/config").map(drop).unwrap_err(),
        tier.get("vault/config").map(drop).unwrap_err(),
        tier.list("vault").map(drop).unwrap_err(),
        put(&*tier, "vault/config", b"x").unwrap_err(),
        tier.deleter().delete("vault/config").unwrap_err(),
    ] {
        let (kind, says) = (StoreErrorKind::Unreachable, "there is no bucket");
        refused::<()>(Err(error), kind, says, "lifeboat makes none");
    }
}

#[test]
fn a_wrong_region_or_key_is_said_with_what_mends_it() {
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let right = of_front(&front, Dialect::S3, "dr");
    let elsewhere = CloudOptions { region: None, ..right.clone() };
    refused(
        place(&elsewhere).look(),
        StoreErrorKind::Unreachable,
        "is in region eu-test-1, not in us-east-1",
        "set `region = \"eu-test-1\"`",
    );
    front.log();
    let stranger = CloudOptions { credentials: pair(("nobody", "hush-hush")), ..right };
    let place = place(&stranger);
    let looked = place.look();
    assert!(!format!("{looked:?}{place:?}{stranger:?}").contains("hush"));
    refused(looked, StoreErrorKind::Denied, "refused the tier's credential", "credentials_file");
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let front = Front::start(Dialect::S3, BUCKET, 1000);
    let options = of_front(&front, Dialect::S3, "dr");
    drop(front);
    let tier = open(&options);
    let (kind, hint) = (StoreErrorKind::Unreachable, "check the network");
    refused(tier.get("vault/config"), kind, "cannot be reached", hint);
    refused(put(&*tier, "vault/config", b"x"), kind, "cannot be reached", hint);
}

/// Archive classes hold back what is read often: only packs get the plan's class.
#[test]
fn a_storage_class_is_for_packs_alone() {
    for dialect in [Dialect::S3, Dialect::Google] {
        let front = Front::start(dialect, BUCKET, 1000);
        let options = CloudOptions {
            storage_class: Some("GLACIER_IR".to_owned()),
            ..of_front(&front, dialect, "dr")
        };
        let tier = open(&options);
        for (key, class) in [
            ("vault/data/ab/abcd", Some("GLACIER_IR")),
            ("vault/index/ab", None),
            ("vault/config", None),
            ("ledger/host/entries/1", None),
        ] {
            put(&*tier, key, b"x").unwrap();
            let found = front.class(BUCKET, &format!("dr/{key}"));
            assert_eq!(found.as_deref(), class, "{key}");
        }
    }
}
