//! The one signed request that a test itself makes: a container of Azure, which no client of ours
//! makes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::http::date;

const VERSION: &str = "2021-08-06";

/// The request that makes a container, signed with the account's key (Shared Key).
#[allow(clippy::disallowed_methods)] // The server compares it with its own clock.
pub(super) fn make_container(account: &str, key: &str, name: &str) -> String {
    let date = date(Timestamp::now());
    // The account stands in the path twice: an emulator has it in the address.
    let text = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n\
         /{account}/{account}/{name}\nrestype:container"
    );
    let key = BASE64_STANDARD.decode(key).unwrap();
    let signature = BASE64_STANDARD.encode(hmac(&key, text.as_bytes()));
    format!(
        "PUT /{account}/{name}?restype=container HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         x-ms-date: {date}\r\nx-ms-version: {VERSION}\r\n\
         Authorization: SharedKey {account}:{signature}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// HMAC-SHA-256 (RFC 2104) with a key of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::hmac;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let found = hmac(b"Jefe", b"what do ya want for nothing?");
        assert!(found.starts_with(&[0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]));
    }
}
