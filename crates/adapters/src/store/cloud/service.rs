//! Which service, where, and with which credential. Nothing is taken from the environment: where a
//! credential is missing, `object_store` would look there and ask the machine's metadata service.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use zeroize::Zeroizing;

use super::web::{Patience, Web};

/// The region of a bucket where the plan names none.
const REGION: &str = "us-east-1";
/// No pause between two tries is longer.
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_secs(15);

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what speaks like it.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

impl Service {
    /// By the scheme of an address: `s3`, `az` or `gs`.
    pub fn of_scheme(scheme: &str) -> Option<Service> {
        Some(match scheme {
            "s3" => Service::S3,
            "az" => Service::Azure,
            "gs" => Service::Google,
            _ => return None,
        })
    }
}

/// A secret text: wiped when dropped, never shown.
type Secret = Zeroizing<String>;

/// What a service lets us in with.
#[derive(Clone)]
pub enum Credentials {
    /// A pair of keys of S3; with a token if it is for a time.
    Pair {
        /// The access key id.
        id: Secret,
        /// The secret access key.
        secret: Secret,
        /// The session token.
        token: Option<Secret>,
    },
    /// A storage account of Azure.
    Account {
        /// Its name.
        name: String,
        /// Its key, or a shared access signature.
        key: AzureKey,
        /// The address of its blobs, where it is not the provider's own.
        endpoint: Option<String>,
    },
    /// The key file of a service account of Google.
    ServiceAccount(Secret),
}

/// How a storage account lets us in.
#[derive(Clone)]
pub enum AzureKey {
    /// The account's key.
    Key(Secret),
    /// A shared access signature.
    Signature(Secret),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::Pair { .. } => "Pair(..)",
            Credentials::Account { .. } => "Account(..)",
            Credentials::ServiceAccount(_) => "ServiceAccount(..)",
        })
    }
}

/// Why a tier cannot be used as it is described, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unusable {
    /// One sentence, without a secret.
    pub what: String,
    /// The change that mends it.
    pub hint: String,
}

impl Unusable {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Unusable {
        Unusable { what: what.into(), hint: hint.into() }
    }
}

impl Credentials {
    /// From a file as AWS's tools write it: the section `[default]`, or the only one.
    ///
    /// # Errors
    /// If it has no pair of keys.
    pub fn from_aws_file(text: &str) -> Result<Credentials, Unusable> {
        let mut sections: Vec<(String, Vec<(String, Secret)>)> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                sections.push((name.trim().to_owned(), Vec::new()));
            } else if let Some((name, value)) =
                line.split_once('=').filter(|_| !line.starts_with('#'))
                && let Some((_, values)) = sections.last_mut()
            {
                values.push((name.trim().to_lowercase(), Secret::new(value.trim().to_owned())));
            }
        }
        let only = sections.len() == 1;
        let section = sections.into_iter().find(|(name, _)| only || name == "default");
        let values = section.map(|(_, values)| values).unwrap_or_default();
        let value = |name: &str| {
            let found = values.iter().find(|(found, value)| found == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(id), Some(secret)) => {
                Ok(Credentials::Pair { id, secret, token: value("aws_session_token") })
            }
            _ => Err(Unusable::new(
                "the credentials file has no pair of keys",
                "write `[default]`, `aws_access_key_id = …` and `aws_secret_access_key = …` into it",
            )),
        }
    }

    /// From a connection string of Azure. A comment behind it (` # …`, as in files of environment
    /// variables) is no part of it.
    ///
    /// # Errors
    /// If it names no account, or nothing that opens it.
    pub fn from_connection_string(text: &str) -> Result<Credentials, Unusable> {
        let hint = "copy it again from the storage account: `AccountName=…;AccountKey=…;…`";
        let pair = |part: &str| {
            let (name, value) = part.trim().split_once('=')?;
            Some((name.trim().to_lowercase(), Secret::new(value.trim().to_owned())))
        };
        let parts = without_comment(text).split(';').filter(|part| !part.trim().is_empty());
        let parts: Option<Vec<(String, Secret)>> = parts.map(pair).collect();
        let parts = parts.ok_or_else(|| Unusable::new("the connection string is none", hint))?;
        let value = |name: &str| {
            let found = parts.iter().find(|(found, value)| found == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let plain = |name: &str| value(name).map(|value| value.to_string());
        let key = match (value("accountkey"), value("sharedaccesssignature")) {
            (Some(key), _) => AzureKey::Key(key),
            (None, Some(signature)) => AzureKey::Signature(signature),
            (None, None) => {
                let what = "the connection string has neither AccountKey nor SharedAccessSignature";
                return Err(Unusable::new(what, hint));
            }
        };
        let endpoint = plain("blobendpoint");
        let named = plain("accountname").or_else(|| account_of(endpoint.as_deref()?));
        let name =
            named.ok_or_else(|| Unusable::new("the connection string has no AccountName", hint))?;
        let endpoint = endpoint.or_else(|| {
            let suffix = plain("endpointsuffix")?;
            let scheme = plain("defaultendpointsprotocol").unwrap_or_else(|| "https".to_owned());
            Some(format!("{scheme}://{name}.blob.{suffix}"))
        });
        Ok(Credentials::Account { name, key, endpoint })
    }

    /// From the key file of a service account of Google.
    ///
    /// # Errors
    /// If it is another file.
    pub fn from_google_file(text: &str) -> Result<Credentials, Unusable> {
        let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let has = |name: &str| value.as_ref().is_some_and(|value| value[name].is_string());
        if has("private_key") && has("client_email") {
            return Ok(Credentials::ServiceAccount(Secret::new(text.to_owned())));
        }
        Err(Unusable::new(
            "the credentials file is no key of a service account",
            "make a JSON key for a service account and name its file",
        ))
    }
}

/// Without ` # …` at its end and white space around it.
pub fn without_comment(text: &str) -> &str {
    let cut = text.match_indices('#').find(|(at, _)| {
        text.get(..*at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
    });
    cut.map_or(text, |(at, _)| text.get(..at).unwrap_or(text)).trim()
}

/// `https://NAME.blob.core.windows.net/` names the account.
fn account_of(endpoint: &str) -> Option<String> {
    let (_, rest) = endpoint.split_once("://")?;
    let (name, _) = rest.split_once(".blob.")?;
    Some(name.to_owned())
}

/// A tier in an object store, as the plan describes it.
#[derive(Debug, Clone)]
pub struct CloudOptions {
    /// The kind of store.
    pub service: Service,
    /// Bucket or container.
    pub bucket: String,
    /// Where in it; empty for all of it.
    pub prefix: String,
    /// As the plan writes it: for messages.
    pub place: String,
    /// Address of the service, where it is not the provider's own.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket; `us-east-1` where the plan names none.
    pub region: Option<String>,
    /// The storage class of packs; the bucket's default where the plan names none.
    pub storage_class: Option<String>,
    /// What opens it.
    pub credentials: Credentials,
    /// How long it is waited for.
    pub patience: Patience,
}

impl CloudOptions {
    /// The region in which the bucket is looked for.
    pub(super) fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(REGION)
    }

    fn endpoint(&self) -> Option<&str> {
        let own = match &self.credentials {
            Credentials::Account { endpoint, .. } => endpoint.as_deref(),
            _ => None,
        };
        self.endpoint.as_deref().or(own)
    }
}

/// The client of a service.
pub(super) fn build(options: &CloudOptions) -> Result<Arc<dyn ObjectStore>, Unusable> {
    let endpoint = options.endpoint();
    if endpoint.is_some_and(|at| !at.starts_with("https://") && !at.starts_with("http://")) {
        let what = format!("the endpoint of {} is no address", options.place);
        return Err(Unusable::new(what, "write it as `https://host` in the tier's `endpoint`"));
    }
    let place = &options.place;
    Path::parse(&options.prefix).map_err(|_| {
        Unusable::new(
            format!("{place} names no place in a bucket"),
            "write the tier's `url` as `s3://bucket/prefix`",
        )
    })?;
    let web = Web::new(endpoint, options.patience)
        .map_err(|why| Unusable::new(format!("no connection can be made: {why}"), "report this"))?;
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: options.patience.pause,
            max_backoff: LONGEST_PAUSE,
            base: 2.0,
        },
        max_retries: options.patience.retries,
        retry_timeout: options.patience.total,
    };
    let built: object_store::Result<Arc<dyn ObjectStore>> =
        match (options.service, &options.credentials) {
            (Service::S3, Credentials::Pair { id, secret, token }) => {
                s3(options, (id, secret, token.as_ref()))
                    .with_retry(retry)
                    .with_http_connector(web)
                    .build()
                    .map(|store| Arc::new(store) as _)
            }
            (Service::Azure, Credentials::Account { name, key, .. }) => azure(options, name, key)
                .with_retry(retry)
                .with_http_connector(web)
                .build()
                .map(|store| Arc::new(store) as _),
            (Service::Google, Credentials::ServiceAccount(key)) => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_bucket_name(options.bucket.as_str())
                    .with_service_account_key(key.as_str());
                if let Some(endpoint) = endpoint {
                    builder = builder.with_base_url(endpoint.trim_end_matches('/'));
                }
                builder
                    .with_retry(retry)
                    .with_http_connector(web)
                    .build()
                    .map(|store| Arc::new(store) as _)
            }
            _ => {
                let what = format!("the credential is of another service than {place}");
                return Err(Unusable::new(
                    what,
                    "look at the tier's `*_env` and `credentials_file`",
                ));
            }
        };
    // Its own words may repeat the credential.
    built.map_err(|_| {
        Unusable::new(
            format!("the credential of {place} cannot be read"),
            "correct what the tier's `*_env` or `credentials_file` names",
        )
    })
}

fn s3(options: &CloudOptions, keys: (&Secret, &Secret, Option<&Secret>)) -> AmazonS3Builder {
    let (id, secret, token) = keys;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(options.bucket.as_str())
        .with_region(options.region())
        .with_access_key_id(id.as_str())
        .with_secret_access_key(secret.as_str())
        .with_checksum_algorithm(Checksum::SHA256)
        .with_disable_bulk_delete(true);
    if let Some(token) = token {
        builder = builder.with_token(token.as_str());
    }
    let own_host = |at: &str| {
        let host = at.split_once("://").map_or(at, |(_, rest)| rest);
        host.starts_with(&format!("{}.", options.bucket))
    };
    match options.endpoint() {
        Some(at) => builder
            .with_endpoint(at.trim_end_matches('/'))
            .with_allow_http(at.starts_with("http://"))
            .with_virtual_hosted_style_request(own_host(at)),
        // A certificate for all buckets does not cover names with a dot.
        None => builder.with_virtual_hosted_style_request(!options.bucket.contains('.')),
    }
}

fn azure(options: &CloudOptions, name: &str, key: &AzureKey) -> MicrosoftAzureBuilder {
    let builder = MicrosoftAzureBuilder::new()
        .with_account(name)
        .with_container_name(options.bucket.as_str());
    let builder = match key {
        AzureKey::Key(key) => builder.with_access_key(key.as_str()),
        AzureKey::Signature(sas) => {
            builder.with_config(AzureConfigKey::SasKey, sas.trim_start_matches('?'))
        }
    };
    match options.endpoint() {
        Some(at) => builder
            .with_endpoint(at.trim_end_matches('/').to_owned())
            .with_allow_http(at.starts_with("http://")),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_may_have_a_comment_behind_it() {
        let text = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=a2V5==;\
                    EndpointSuffix=core.windows.net   # production";
        let Ok(Credentials::Account { name, key, endpoint }) =
            Credentials::from_connection_string(text)
        else {
            panic!("not understood");
        };
        assert_eq!(name, "shop");
        assert!(matches!(&key, AzureKey::Key(key) if key.as_str() == "a2V5=="));
        assert_eq!(endpoint.unwrap(), "https://shop.blob.core.windows.net");
    }

    #[test]
    fn a_connection_string_without_its_parts_says_which() {
        for (text, missing) in [
            ("nonsense", "is none"),
            ("AccountName=shop", "neither AccountKey"),
            ("AccountKey=a2V5", "no AccountName"),
            ("# only a comment", "neither AccountKey"),
        ] {
            let error = Credentials::from_connection_string(text).unwrap_err();
            assert!(error.what.contains(missing), "{text}: {}", error.what);
            assert!(!error.to_string().contains("a2V5"));
        }
    }

    #[test]
    fn a_file_of_keys_is_read_by_its_default_section() {
        let text = "[other]\naws_access_key_id = no\naws_secret_access_key = no\n\
                    [default]\n# a comment = x\naws_access_key_id=AK\naws_secret_access_key = s+/=\n";
        let Ok(Credentials::Pair { id, secret, token }) = Credentials::from_aws_file(text) else {
            panic!("not understood");
        };
        assert_eq!((id.as_str(), secret.as_str(), token.is_none()), ("AK", "s+/=", true));
        assert!(Credentials::from_aws_file("aws_access_key_id = x").is_err());
        assert!(Credentials::from_google_file("{\"type\":\"authorized_user\"}").is_err());
    }

    #[test]
    fn credentials_are_never_shown() {
        let pair = Credentials::from_aws_file(
            "[x]\naws_access_key_id = AKID\naws_secret_access_key = HUSH\n",
        );
        assert!(!format!("{pair:?}").contains("HUSH"));
    }

    #[test]
    fn a_number_sign_within_a_value_is_no_comment() {
        assert_eq!(without_comment("a#b"), "a#b");
        assert_eq!(without_comment(" backups # of the shop"), "backups");
        assert_eq!(without_comment("# nothing"), "");
    }
}
