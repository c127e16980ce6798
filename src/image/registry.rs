//! Lists the tags of an OCI repository through its registry (the distribution API, `GET /v2/<name>/tags/list`).
//!
//! In: a [`Repository`] and the login. Out: its tags. The images themselves are pulled by an executor's daemon.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::header::{LINK, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use crate::error::causes;

/// The maximum number of pages of tags, more than any repository of builder images has.
const MOST_PAGES: usize = 100;
/// The maximum size of a response, in bytes.
const LARGEST_ANSWER_BYTES: usize = 8 << 20;

/// How to log in to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry's host, with its port if it has one: `registry.example.org:5000`.
    pub registry: String,
    /// The user.
    pub user: String,
    /// The password, which is never displayed.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {}", self.user, self.registry)
    }
}

/// How to access registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// The login for one registry.
    pub login: Option<Login>,
    /// Whether registries are accessed without TLS.
    pub is_plain_http: bool,
}

impl RegistryAccess {
    /// Returns the login if it is for the registry of `image`, an image or repository.
    pub fn login_for(&self, image: &str) -> Option<&Login> {
        let host = Repository::of(image).host;
        self.login
            .as_ref()
            .filter(|login| canonical_host(&login.registry) == host)
    }
}

/// A repository of images.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Repository {
    /// The registry's host.
    host: String,
    /// The path in the registry: `falcosecurity/driverkit-builder`.
    path: String,
}

impl Repository {
    /// Parses the name of a repository as Docker does: the part before the first slash is a host if it contains a dot
    /// or colon, or is `localhost`; otherwise the host is `docker.io`.
    fn of(name: &str) -> Self {
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => ("docker.io", name),
        };
        let host = canonical_host(host);
        let path = if host == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        Self { host, path }
    }

    fn url(&self, is_plain_http: bool) -> String {
        let scheme = if is_plain_http { "http" } else { "https" };
        // Docker's own registry has another host name.
        let host = match self.host.as_str() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        format!("{scheme}://{host}/v2/{}/tags/list?n=1000", self.path)
    }
}

fn canonical_host(host: &str) -> String {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// The error if tags cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry cannot be reached, or its response cannot be read.
    #[error("repository {repository}: {message}")]
    Unreachable {
        /// The repository.
        repository: String,
        /// The error message, with its causes.
        message: String,
    },
    /// The registry refused the login.
    #[error(
        "repository {repository}: the registry refuses {}; check --registry-name, --registry-user and --registry-password",
        .user.as_ref().map_or("to answer without a login".to_owned(), |user| format!("the login of {user}"))
    )]
    Refused {
        /// The repository.
        repository: String,
        /// The refused user, if a login was sent.
        user: Option<String>,
    },
    /// The registry returned another status.
    #[error("repository {repository}: the registry answered {status}{}", if *.status == 404 { ": it does not exist" } else { "" })]
    Status {
        /// The repository.
        repository: String,
        /// The HTTP status.
        status: u16,
    },
}

#[derive(Deserialize)]
struct Tags {
    /// `null` for a repository whose tags were all removed.
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

/// Returns the tags of a repository, sorted. If the registry requires a login, that of `access` is used, directly or
/// through a token, as the registry demands.
pub async fn list_tags(
    client: &Client,
    repository: &str,
    access: &RegistryAccess,
) -> Result<Vec<String>, RegistryError> {
    let unreachable = |message: String| RegistryError::Unreachable {
        repository: repository.to_owned(),
        message,
    };
    let of_client = |error: reqwest::Error| {
        unreachable(format!("the registry gave no answer: {}", causes(&error)))
    };
    let login = access.login_for(repository);
    let mut authorization = Authorization::None;
    let mut url = Repository::of(repository).url(access.is_plain_http);
    let mut all = Vec::new();
    for _ in 0..MOST_PAGES {
        let ask = |authorization: &Authorization| authorization.add(client.get(&url)).send();
        let mut answer = ask(&authorization).await.map_err(of_client)?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(found) = authorize(client, &answer, login).await.map_err(of_client)?
        {
            authorization = found;
            answer = ask(&authorization).await.map_err(of_client)?;
        }
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(RegistryError::Refused {
                    repository: repository.to_owned(),
                    user: login.map(|login| login.user.clone()),
                });
            }
            status if !status.is_success() => {
                return Err(RegistryError::Status {
                    repository: repository.to_owned(),
                    status: status.as_u16(),
                });
            }
            _ => {}
        }
        let next = next_page(&answer);
        let bytes = body(answer).await.map_err(unreachable)?;
        let page: Tags = serde_json::from_slice(&bytes)
            .map_err(|error| unreachable(format!("the answer is not a list of tags: {error}")))?;
        all.extend(page.tags.unwrap_or_default());
        match next {
            Some(next) => url = next,
            None => break,
        }
    }
    all.sort();
    Ok(all)
}

/// The authorization of a request.
enum Authorization {
    None,
    Basic(Login),
    Bearer(String),
}

impl Authorization {
    fn add(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Basic(login) => request.basic_auth(&login.user, Some(&login.password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

/// Returns the authorization that the registry demands in its response, if it can be obtained.
async fn authorize(
    client: &Client,
    answer: &Response,
    login: Option<&Login>,
) -> Result<Option<Authorization>, reqwest::Error> {
    let challenge = answer.headers().get(WWW_AUTHENTICATE);
    let challenge = challenge
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Ok(login.cloned().map(Authorization::Basic));
    }
    let mut fields = parameters(rest);
    let Some(realm) = fields
        .remove("realm")
        .filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    else {
        return Ok(None);
    };
    let Ok(mut realm) = url::Url::parse(&realm) else {
        return Ok(None);
    };
    for name in ["service", "scope"] {
        if let Some(value) = fields.get(name) {
            realm.query_pairs_mut().append_pair(name, value);
        }
    }
    // Without a login, the registry issues a token for public repositories.
    let mut request = client.get(realm);
    if let Some(login) = login {
        request = request.basic_auth(&login.user, Some(&login.password));
    }
    let answer = request.send().await?;
    if !answer.status().is_success() {
        return Ok(None);
    }
    let bytes = body(answer).await.unwrap_or_default();
    let token: Option<Token> = serde_json::from_slice(&bytes).ok();
    Ok(token.map(|token| Authorization::Bearer(token.token)))
}

/// Parses the parameters of a challenge: `realm="https://auth.example.org/token",service="registry"`.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name.trim().to_ascii_lowercase(), value.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    found
}

/// Returns the URL of the next page: `</v2/r/tags/list?last=x&n=1000>; rel="next"`, absolute or relative. A URL on
/// another host is not followed, because that host would receive the login.
fn next_page(answer: &Response) -> Option<String> {
    let link = answer.headers().get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !parameters.contains("next") {
        return None;
    }
    let next = answer.url().join(target).ok()?;
    (next.origin() == answer.url().origin()).then(|| next.to_string())
}

async fn body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| causes(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LARGEST_ANSWER_BYTES {
            return Err(format!(
                "its answer has more than {LARGEST_ANSWER_BYTES} bytes"
            ));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_parsed_as_in_docker() {
        for (name, host, path) in [
            (
                "docker.io/falcosecurity/driverkit-builder",
                "docker.io",
                "falcosecurity/driverkit-builder",
            ),
            (
                "falcosecurity/driverkit-builder",
                "docker.io",
                "falcosecurity/driverkit-builder",
            ),
            ("index.docker.io/debian", "docker.io", "library/debian"),
            ("debian", "docker.io", "library/debian"),
            ("127.0.0.1:5000/builder", "127.0.0.1:5000", "builder"),
            ("localhost/a/b", "localhost", "a/b"),
            ("ghcr.io/x/y", "ghcr.io", "x/y"),
        ] {
            let repository = Repository::of(name);
            assert_eq!(
                (repository.host.as_str(), repository.path.as_str()),
                (host, path),
                "{name}"
            );
        }
        let url = Repository::of("debian").url(false);
        assert_eq!(
            url,
            "https://registry-1.docker.io/v2/library/debian/tags/list?n=1000"
        );
    }

    #[test]
    fn a_login_is_sent_to_its_own_registry_only() {
        let access = RegistryAccess {
            login: Some(Login {
                registry: "127.0.0.1:5000".to_owned(),
                user: "me".to_owned(),
                password: "secret".to_owned(),
            }),
            is_plain_http: true,
        };
        assert!(access.login_for("127.0.0.1:5000/builder:tag").is_some());
        for image in ["127.0.0.1:5001/builder", "builder", "127.0.0.1/builder"] {
            assert!(access.login_for(image).is_none(), "{image}");
        }
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[test]
    fn authentication_challenges_are_parsed() {
        let found = parameters(
            "realm=\"https://a/token\",service=\"r.io\", scope=\"repository:x/y:pull,push\",n=1",
        );
        let expected = [
            ("n", "1"),
            ("realm", "https://a/token"),
            ("scope", "repository:x/y:pull,push"),
            ("service", "r.io"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert!(parameters("").is_empty() && parameters("nothing").is_empty());
    }
}
