//! What a store's refusal means: its kind, one sentence, and what mends it.
//!
//! Of an answer only the code and the message are kept, without line ends and control characters:
//! some stores repeat parts of the signed request in the rest of it.

use lifeboat_vault::{Advice, StoreErrorKind};
use serde_json::Value;

use super::sums::Headers;

/// A longer message is cut.
const LONGEST: usize = 200;

/// The kind of a failure, and advice where the kind alone does not say what to do.
pub(super) type Meaning = (StoreErrorKind, Option<Advice>);

/// An answer that is no success.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `NoSuchBucket`, `AuthenticationFailed`, `invalid_grant`; empty if the answer has none.
    pub(super) code: String,
    message: String,
    /// Where the bucket is, if the answer tells.
    region: Option<String>,
}

impl Refusal {
    /// From an answer: XML of S3, Google and Azure, JSON of the servers of tokens, headers of both.
    pub(super) fn read(status: u16, headers: &impl Headers, body: &[u8]) -> Refusal {
        let text = String::from_utf8_lossy(body);
        let (mut code, mut message) = (element(&text, "Code"), element(&text, "Message"));
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            let word = |name: &str| value[name].as_str().map(str::to_owned);
            code = code.or(word("error"));
            let nested = || value["error"]["message"].as_str().map(str::to_owned);
            message = message.or(word("error_description")).or_else(nested);
        }
        let region = headers.first("x-amz-bucket-region").or(element(&text, "Region"));
        Refusal {
            status,
            code: clean(&code.or(headers.first("x-ms-error-code")).unwrap_or_default()),
            message: clean(&message.unwrap_or_default()),
            region: region.map(|region| clean(&region)).filter(|region| !region.is_empty()),
        }
    }

    /// True if the request may have been carried out all the same: the server failed, or was still
    /// at work for somebody else.
    pub(super) fn leaves_unclear(&self) -> bool {
        self.status >= 500 || self.status == 408
    }

    /// The kind, and advice where the kind alone does not say what to do. `ours` is the region that
    /// the plan names.
    pub(super) fn meaning(&self, bucket: &str, ours: &str) -> Meaning {
        use StoreErrorKind as Kind;
        let known = self.of_the_bucket(bucket, ours).or_else(|| self.of_the_credential());
        known.unwrap_or_else(|| match (self.status, self.code.as_str()) {
            (_, "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated") => advised(
                Kind::Unreachable,
                format!("the object lies in an archive class and cannot be read yet ({self})"),
                "have the store retrieve it first; it takes hours",
            ),
            (507, _) | (_, "QuotaExceeded" | "InsufficientStorage" | "AccountQuotaExceeded") => {
                advised(Kind::NoSpace, self.answered(), "raise the quota, or prune")
            }
            (403, _) | (_, "BlobImmutableDueToPolicy" | "ObjectUnderActiveHold") => advised(
                Kind::Denied,
                format!("the store denied it ({self})"),
                "give the tier's credential the right to it in the bucket's policy",
            ),
            (404, _) => (Kind::NotFound, None),
            (409 | 412, _) => (Kind::Exists, None),
            (416, _) => (Kind::Short, None),
            (408 | 429 | 500.., _) => advised(
                Kind::Unreachable,
                self.answered(),
                "the store is in trouble or busy: try again later",
            ),
            _ => advised(
                Kind::Other,
                self.answered(),
                "look at the tier's `url`, `endpoint` and `region`",
            ),
        })
    }

    /// It is not there, not of that name, or elsewhere.
    fn of_the_bucket(&self, bucket: &str, ours: &str) -> Option<Meaning> {
        let (what, hint) = match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted") => (
                format!("there is no bucket or container {bucket}"),
                "make it, or correct the tier's `url`; lifeboat makes none by itself".to_owned(),
            ),
            (_, "InvalidBucketName" | "InvalidResourceName" | "OutOfRangeInput") => (
                format!("{bucket} cannot be the name of a bucket or container"),
                "correct the tier's `url`".to_owned(),
            ),
            (301 | 302 | 307 | 308, _)
            | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed")
            | (_, "IllegalLocationConstraintException") => match &self.region {
                Some(region) => (
                    format!("bucket {bucket} is in region {region}, not in {ours}"),
                    format!("set `region = \"{region}\"` in the tier"),
                ),
                None => (
                    format!("bucket {bucket} is not in region {ours} ({self})"),
                    "set the tier's `region` to that of the bucket".to_owned(),
                ),
            },
            _ => return None,
        };
        Some((StoreErrorKind::Unreachable, Some(Advice { what, hint })))
    }

    /// It is wrong, or no longer good.
    fn of_the_credential(&self) -> Option<Meaning> {
        let (what, hint) = match (self.status, self.code.as_str()) {
            (_, "ExpiredToken" | "TokenRefreshRequired" | "ExpiredAuthenticationToken") => (
                "the tier's credential has expired",
                "renew it where the tier's `*_env` or `credentials_file` takes it from",
            ),
            (_, "RequestTimeTooSkewed" | "RequestInTheFuture") => (
                "the clock of this machine is too far from the store's",
                "set the clock of this machine (`timedatectl`, chrony)",
            ),
            (401, _)
            | (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken")
            | (_, "AuthenticationFailed" | "InvalidAuthenticationInfo" | "AccountIsDisabled")
            | (_, "NoAuthenticationInformation" | "invalid_grant" | "invalid_client") => (
                "the store refused the tier's credential",
                "correct what the tier's `*_env` or `credentials_file` names",
            ),
            _ => return None,
        };
        Some(advised(StoreErrorKind::Denied, format!("{what} ({self})"), hint))
    }

    fn answered(&self) -> String {
        format!("the store answered {self}")
    }
}

impl std::fmt::Display for Refusal {
    /// `403 AccessDenied: Access Denied`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        for (before, text) in [(" ", &self.code), (": ", &self.message)] {
            if !text.is_empty() {
                write!(f, "{before}{text}")?;
            }
        }
        Ok(())
    }
}

fn advised(kind: StoreErrorKind, what: String, hint: &str) -> Meaning {
    (kind, Some(Advice { what, hint: hint.to_owned() }))
}

/// The text of the first element of that name.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = inner.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    Some(plain.replace("&apos;", "'").replace("&amp;", "&"))
}

/// The first line, without control characters, not too long.
fn clean(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(status: u16, body: &str) -> Refusal {
        Refusal::read(status, &BTreeMap::new(), body.as_bytes())
    }

    fn xml(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m\nline</Message></Error>"
        )
    }

    #[test]
    fn each_refusal_has_its_kind_and_what_cannot_be_mended_by_waiting_is_not_unclear() {
        use StoreErrorKind as Kind;
        for (status, code, kind) in [
            (404, "NoSuchKey", Kind::NotFound),
            (404, "BlobNotFound", Kind::NotFound),
            (404, "NoSuchBucket", Kind::Unreachable),
            (404, "ContainerNotFound", Kind::Unreachable),
            (301, "PermanentRedirect", Kind::Unreachable),
            (400, "AuthorizationHeaderMalformed", Kind::Unreachable),
            (400, "ExpiredToken", Kind::Denied),
            (403, "RequestTimeTooSkewed", Kind::Denied),
            (403, "InvalidAccessKeyId", Kind::Denied),
            (403, "SignatureDoesNotMatch", Kind::Denied),
            (403, "AuthenticationFailed", Kind::Denied),
            (403, "AccessDenied", Kind::Denied),
            (403, "InvalidObjectState", Kind::Unreachable),
            (412, "PreconditionFailed", Kind::Exists),
            (409, "BlobAlreadyExists", Kind::Exists),
            (409, "BlobImmutableDueToPolicy", Kind::Denied),
            (416, "InvalidRange", Kind::Short),
            (400, "MalformedXML", Kind::Other),
        ] {
            let refusal = read(status, &xml(code));
            assert_eq!(refusal.meaning("b", "r").0, kind, "{status} {code}");
            assert!(!refusal.leaves_unclear(), "{status} {code}");
        }
        for status in [500, 503, 408] {
            let refusal = read(status, "");
            assert_eq!(refusal.meaning("b", "r").0, Kind::Unreachable);
            assert!(refusal.leaves_unclear());
        }
    }

    #[test]
    fn a_refusal_is_one_clean_line() {
        let refusal = read(418, &xml("Te\u{1b}[31mapot"));
        let advice = refusal.meaning("b", "r").1.unwrap();
        assert_eq!(advice.what, "the store answered 418 Te[31mapot: m");
        let secret = "<Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message>\
                      <StringToSign>TOP SECRET</StringToSign></Error>";
        assert!(!format!("{:?}", read(403, secret)).contains("SECRET"));
    }

    #[test]
    fn a_bucket_elsewhere_names_its_region() {
        let header = BTreeMap::from([("x-amz-bucket-region", "eu-central-1")]);
        let refusal = Refusal::read(301, &header, b"");
        let advice = refusal.meaning("b", "us-east-1").1.unwrap();
        assert_eq!(advice.hint, "set `region = \"eu-central-1\"` in the tier");
    }

    #[test]
    fn a_token_server_answers_in_json() {
        let refusal = read(400, r#"{"error":"invalid_grant","error_description":"Invalid JWT"}"#);
        let (kind, advice) = refusal.meaning("b", "");
        assert_eq!(kind, StoreErrorKind::Denied);
        assert!(advice.unwrap().what.contains("400 invalid_grant: Invalid JWT"));
    }
}
