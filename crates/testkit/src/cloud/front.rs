//! A small object store of our own, which misbehaves when told to.
//!
//! It carries out one request at a time, so that of two creates one wins. It compares what is sent
//! with the checksums that come with it, tells its own, and refuses an unknown key and a wrong region.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use md5::Md5;
use sha2::{Digest, Sha256};

use super::http::{self, Answer, Request};

/// Which service is spoken like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// S3: `If-None-Match`, signatures, SHA-256.
    S3,
    /// Google's XML: `x-goog-if-generation-match`, `x-goog-hash`.
    Google,
}

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This answer, and nothing is done.
    Answer(u16, &'static str),
    /// It is done, and this is the answer.
    DoneAnd(u16, &'static str),
    /// The connection is cut before anything is done.
    Cut,
    /// It is done, and the connection is cut without an answer.
    DoneAndCut,
    /// Half of the body of the answer, then the connection is cut.
    HalfAnAnswer,
    /// Other bytes are stored than were sent, and their checksum is told.
    Damage,
    /// Other bytes are stored than were sent, and no checksum is told.
    DamageUntold,
    /// What was sent is stored, and no checksum is told.
    Untold,
    /// A page of a listing says that more follows, and not where.
    CutListing,
}

#[derive(Debug, Clone)]
struct Object {
    body: Vec<u8>,
    modified: Timestamp,
    class: Option<String>,
}

struct Rule {
    verb: &'static str,
    part: String,
    left: usize,
    trouble: Trouble,
}

#[derive(Default)]
struct Inside {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    rules: Vec<Rule>,
    log: Vec<String>,
    page: usize,
}

struct Shared {
    dialect: Dialect,
    inside: Mutex<Inside>,
    ended: AtomicBool,
}

/// The server; it stops when dropped.
pub struct Front {
    shared: Arc<Shared>,
    port: u16,
}

impl Front {
    /// The pair of keys that it knows; it looks at the first alone.
    pub const KEYS: (&str, &str) = ("front-id", "front-secret");
    /// Its region.
    pub const REGION: &str = "eu-test-1";

    /// A running server with an empty bucket, listing in pages of `page` keys.
    pub fn start(dialect: Dialect, bucket: &str, page: usize) -> Front {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let inside = Inside { page, ..Inside::default() };
        let shared = Shared { dialect, inside: Mutex::new(inside), ended: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let front = Front { shared: Arc::clone(&shared), port };
        front.bucket(bucket);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        front
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    pub fn bucket(&self, name: &str) {
        self.shared.inside().buckets.insert(name.to_owned(), BTreeMap::new());
    }

    /// Takes a bucket away.
    pub fn remove_bucket(&self, name: &str) {
        self.shared.inside().buckets.remove(name);
    }

    /// From now on the next `times` requests of this verb (`LIST` for a listing) whose path has `part`
    /// in it meet this trouble.
    pub fn trouble(&self, times: usize, verb: &'static str, part: &str, trouble: Trouble) {
        let rule = Rule { verb, part: part.to_owned(), left: times, trouble };
        self.shared.inside().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn forgive(&self) {
        self.shared.inside().rules.clear();
    }

    /// Writes an object past all rules.
    #[allow(clippy::disallowed_methods)] // A server has its own clock.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        let object = Object { body: body.to_vec(), modified: Timestamp::now(), class: None };
        let mut inside = self.shared.inside();
        inside.buckets.get_mut(bucket).unwrap().insert(key.to_owned(), object);
    }

    /// The bytes of an object.
    pub fn body(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.shared.inside().buckets.get(bucket)?.get(key).map(|object| object.body.clone())
    }

    /// The storage class of an object.
    pub fn class(&self, bucket: &str, key: &str) -> Option<String> {
        self.shared.inside().buckets.get(bucket)?.get(key)?.class.clone()
    }

    /// What was asked since the last call: `PUT bucket/key`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.inside().log)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        let (Ok(reader), Ok(mut writer)) = (stream.try_clone(), stream.try_clone()) else { return };
        let mut reader = BufReader::new(reader);
        while let Some(request) = http::read(&mut reader) {
            if self.ended.load(Ordering::SeqCst) {
                break;
            }
            let Some(answer) = self.answer(&request) else { break };
            if answer.send(request.verb == "HEAD", &mut writer).is_err() {
                break;
            }
            let cut = answer.headers.iter().any(|(name, _)| name == "Content-Length")
                && request.verb != "HEAD";
            if cut {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Nothing where the connection is to be cut.
    fn answer(&self, request: &Request) -> Option<Answer> {
        let mut inside = self.inside();
        let verb = match request.query.contains_key("list-type") {
            true => "LIST",
            false => request.verb.as_str(),
        };
        inside.log.push(format!("{verb} {}", request.path));
        let rule = inside
            .rules
            .iter_mut()
            .find(|rule| rule.left > 0 && rule.verb == verb && request.path.contains(&rule.part));
        let trouble = rule.map(|rule| {
            rule.left -= 1;
            rule.trouble
        });
        match trouble {
            Some(Trouble::Answer(status, code)) => Some(refusal(status, code)),
            Some(Trouble::Cut) => None,
            Some(Trouble::DoneAnd(status, code)) => {
                self.carry_out(&mut inside, request, None);
                Some(refusal(status, code))
            }
            Some(Trouble::DoneAndCut) => {
                self.carry_out(&mut inside, request, None);
                None
            }
            Some(Trouble::HalfAnAnswer) => {
                let mut answer = self.carry_out(&mut inside, request, None);
                let whole = answer.body.len();
                answer.body.truncate(whole / 2);
                Some(answer.with("Content-Length", whole.to_string()))
            }
            other => Some(self.carry_out(&mut inside, request, other)),
        }
    }

    fn carry_out(
        &self,
        inside: &mut Inside,
        request: &Request,
        trouble: Option<Trouble>,
    ) -> Answer {
        if let Some(refusal) = self.stranger(request) {
            return refusal;
        }
        let (name, key) = request.path.split_once('/').unwrap_or((&request.path, ""));
        let page = inside.page;
        let Some(bucket) = inside.buckets.get_mut(name) else {
            return Answer::error(404, "NoSuchBucket");
        };
        match request.verb.as_str() {
            "PUT" => self.put(bucket, key, request, trouble),
            "GET" if request.query.contains_key("list-type") => {
                list(bucket, request, page, trouble == Some(Trouble::CutListing))
            }
            "GET" | "HEAD" => match bucket.get(key) {
                Some(object) => get(object, request),
                None => Answer::error(404, "NoSuchKey"),
            },
            "DELETE" if bucket.remove(key).is_none() && self.dialect == Dialect::Google => {
                Answer::error(404, "NoSuchKey")
            }
            "DELETE" => Answer::new(204, ""),
            _ => Answer::error(405, "MethodNotAllowed"),
        }
    }

    /// A refusal for a signature of another key or region.
    fn stranger(&self, request: &Request) -> Option<Answer> {
        if self.dialect == Dialect::Google {
            return None;
        }
        let signed = request.headers.get("authorization").map_or("", String::as_str);
        let scope: Vec<&str> = signed
            .split_once("Credential=")
            .map(|(_, rest)| rest.split(['/', ',']).collect())
            .unwrap_or_default();
        match scope[..] {
            [id, _, region, ..] if id == Front::KEYS.0 && region == Front::REGION => None,
            [id, ..] if id != Front::KEYS.0 => Some(Answer::error(403, "InvalidAccessKeyId")),
            [_, _, ..] => Some(
                Answer::error(400, "AuthorizationHeaderMalformed")
                    .with("x-amz-bucket-region", Front::REGION),
            ),
            _ => Some(Answer::error(403, "AccessDenied")),
        }
    }

    #[allow(clippy::disallowed_methods)] // A server has its own clock.
    fn put(
        &self,
        bucket: &mut BTreeMap<String, Object>,
        key: &str,
        request: &Request,
        trouble: Option<Trouble>,
    ) -> Answer {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        let sent = hex::encode(Sha256::digest(&request.body));
        if header("x-amz-content-sha256").is_some_and(|told| told.len() == 64 && told != sent) {
            return Answer::error(400, "XAmzContentSHA256Mismatch");
        }
        let once = header("if-none-match") == Some("*")
            || header("x-goog-if-generation-match") == Some("0");
        if once && bucket.contains_key(key) {
            return Answer::error(412, "PreconditionFailed");
        }
        let mut body = request.body.clone();
        if matches!(trouble, Some(Trouble::Damage | Trouble::DamageUntold)) {
            body.push(0);
        }
        let class = header("x-amz-storage-class").or(header("x-goog-storage-class"));
        let class = class.map(str::to_owned);
        let coded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let answer = Answer::new(200, "").with("x-goog-generation", "1");
        let answer = match (trouble, self.dialect) {
            (Some(Trouble::Untold | Trouble::DamageUntold), _) => answer.with("ETag", "\"none\""),
            (_, Dialect::S3) => answer
                .with("ETag", etag(&body))
                .with("x-amz-checksum-sha256", coded(&Sha256::digest(&body))),
            (_, Dialect::Google) => answer.with("ETag", etag(&body)).with(
                "x-goog-hash",
                format!(
                    "crc32c={},md5={}",
                    coded(&crc32c::crc32c(&body).to_be_bytes()),
                    coded(&Md5::digest(&body))
                ),
            ),
        };
        bucket.insert(key.to_owned(), Object { body, modified: Timestamp::now(), class });
        answer
    }
}

fn refusal(status: u16, code: &str) -> Answer {
    Answer::error(status, code)
}

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(body)))
}

fn get(object: &Object, request: &Request) -> Answer {
    let size = object.body.len();
    let range = request.headers.get("range").and_then(|text| {
        let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().unwrap_or(usize::MAX)))
    });
    let answer = match range {
        Some((from, _)) if from >= size => return Answer::error(416, "InvalidRange"),
        Some((from, to)) => {
            let end = to.saturating_add(1).min(size);
            Answer::new(206, &object.body[from..end])
                .with("Content-Range", format!("bytes {from}-{}/{size}", end - 1))
        }
        None => Answer::new(200, object.body.clone()),
    };
    let answer = match request.verb.as_str() {
        "HEAD" => answer.with("Content-Length", size.to_string()),
        _ => answer,
    };
    answer
        .with("ETag", etag(&object.body))
        .with("Last-Modified", http::date(object.modified))
        .with("x-goog-generation", "1")
}

/// One page, its entries in the wrong order: S3 promises an order, not all that speak like it keep it.
fn list(bucket: &BTreeMap<String, Object>, request: &Request, page: usize, cut: bool) -> Answer {
    let ask = |name: &str| request.query.get(name).map_or("", String::as_str);
    let (prefix, delimiter, after) = (ask("prefix"), ask("delimiter"), ask("continuation-token"));
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    for (key, object) in bucket.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        let folder = rest.find(delimiter).filter(|_| !delimiter.is_empty());
        let (name, xml) = match folder {
            Some(at) => {
                let folder = &key[..prefix.len() + at + delimiter.len()];
                let inner = escaped(folder);
                (folder, format!("<CommonPrefixes><Prefix>{inner}</Prefix></CommonPrefixes>"))
            }
            None => (key.as_str(), contents(key, object)),
        };
        if name > after {
            entries.insert(name.to_owned(), xml);
        }
    }
    let more = entries.len() > page || cut;
    let shown: Vec<(String, String)> = entries.into_iter().take(page).collect();
    let last = shown.last().map(|(name, _)| escaped(name)).unwrap_or_default();
    let token = match more && !cut {
        true => format!("<NextContinuationToken>{last}</NextContinuationToken>"),
        false => String::new(),
    };
    let body: String = shown.iter().rev().map(|(_, xml)| xml.as_str()).collect();
    let xml = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{body}\
         </ListBucketResult>"
    );
    Answer::new(200, xml).with("Content-Type", "application/xml")
}

fn contents(key: &str, object: &Object) -> String {
    format!(
        "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
        escaped(key),
        object.modified.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"),
        escaped(&etag(&object.body)),
        object.body.len()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
