//! Checksums that a store tells of what it stored, compared with what was sent.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256};

/// What a store told with its success.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    /// SHA-256 (`x-amz-checksum-sha256`): S3 compares it before it stores.
    sha256: Option<Vec<u8>>,
    /// MD5 (`content-md5` of Azure, `x-goog-hash` of Google).
    md5: Option<Vec<u8>>,
    /// CRC-32C (`x-goog-hash`).
    crc32c: Option<Vec<u8>>,
    /// An ETag of the form of an MD5; it is one unless the store encrypts with keys of its own.
    etag: Option<Vec<u8>>,
}

/// How what was told compares with what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// The store has what was sent.
    Same,
    /// The store has something else.
    Other,
    /// It told nothing that can be compared: the object has to be read back.
    Untold,
}

/// A map of headers, of which the type has no name here.
pub(super) trait Headers {
    /// Every value of a header that is text.
    fn all(&self, name: &str) -> Vec<String>;
    /// The first one.
    fn first(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }
}

impl Headers for reqwest::header::HeaderMap {
    fn all(&self, name: &str) -> Vec<String> {
        let values = self.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    }
}

impl Sums {
    pub(super) fn of(headers: &impl Headers) -> Sums {
        let decoded = |text: &str| BASE64_STANDARD.decode(text.trim()).ok();
        let hashes: Vec<String> = headers.all("x-goog-hash");
        let google = |name: &str| {
            let parts = hashes.iter().flat_map(|line| line.split(','));
            let found = parts.filter_map(|part| part.trim().split_once('='));
            found.filter(|(found, _)| *found == name).find_map(|(_, sum)| decoded(sum))
        };
        let etag = headers.first("etag").and_then(|tag| {
            let tag = tag.trim_matches('"');
            (tag.len() == 32).then(|| hex::decode(tag).ok()).flatten()
        });
        Sums {
            sha256: headers.first("x-amz-checksum-sha256").as_deref().and_then(decoded),
            md5: headers.first("content-md5").as_deref().and_then(decoded).or(google("md5")),
            crc32c: google("crc32c"),
            etag,
        }
    }

    /// Compares with an object in parts; the first checksum that was told decides.
    pub(super) fn compare(&self, parts: &[Bytes]) -> Comparison {
        let verdict = |told: &[u8], sent: &[u8]| match told == sent {
            true => Comparison::Same,
            false => Comparison::Other,
        };
        if let Some(told) = &self.sha256 {
            return verdict(told, &digest::<Sha256>(parts));
        }
        if let Some(told) = &self.crc32c {
            let sent = parts.iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part));
            return verdict(told, &sent.to_be_bytes());
        }
        if let Some(told) = &self.md5 {
            return verdict(told, &digest::<Md5>(parts));
        }
        match &self.etag {
            // Another value proves nothing: not every ETag of that form is an MD5.
            Some(told) if *told == digest::<Md5>(parts) => Comparison::Same,
            _ => Comparison::Untold,
        }
    }
}

fn digest<D: Digest>(parts: &[Bytes]) -> Vec<u8> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Headers for BTreeMap<&str, &str> {
        fn all(&self, name: &str) -> Vec<String> {
            self.get(name).map(|value| (*value).to_owned()).into_iter().collect()
        }
    }

    fn told(name: &str, value: &str) -> Comparison {
        let sums = Sums::of(&BTreeMap::from([(name, value)]));
        sums.compare(&[Bytes::from_static(b"life"), Bytes::from_static(b"boat")])
    }

    #[test]
    fn a_checksum_of_something_else_is_noticed() {
        // Of "lifeboat", by coreutils and a table of CRC-32C.
        let parts = [Bytes::from_static(b"lifeboat")];
        let sha = BASE64_STANDARD.encode(digest::<Sha256>(&parts));
        let md5 = digest::<Md5>(&parts);
        let coded = BASE64_STANDARD.encode(&md5);
        let crc = BASE64_STANDARD.encode(crc32c::crc32c(b"lifeboat").to_be_bytes());
        assert_eq!(hex::encode(&md5), "63ea64f8ba9ec501993aa122ac4fd79d");
        assert_eq!(told("x-amz-checksum-sha256", &sha), Comparison::Same);
        assert_eq!(told("content-md5", &coded), Comparison::Same);
        assert_eq!(told("x-goog-hash", &format!("crc32c={crc},md5=AAAA")), Comparison::Same);
        assert_eq!(told("x-goog-hash", &format!("md5={coded}")), Comparison::Same);
        assert_eq!(told("etag", &format!("\"{}\"", hex::encode(&md5))), Comparison::Same);
        for name in ["x-amz-checksum-sha256", "content-md5"] {
            assert_eq!(told(name, "AAAA"), Comparison::Other, "{name}");
        }
        assert_eq!(told("x-goog-hash", "crc32c=AAAAAA=="), Comparison::Other);
    }

    #[test]
    fn an_etag_that_is_no_md5_proves_nothing() {
        assert_eq!(told("etag", &format!("\"{}\"", "0".repeat(32))), Comparison::Untold);
        assert_eq!(told("etag", "\"0x8DCB\""), Comparison::Untold);
        assert_eq!(told("date", "today"), Comparison::Untold);
    }
}
