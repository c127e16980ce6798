//! `images update`: queries repositories again, and pulls the images that are in use again.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::json;

use super::super::output::{AnswerFormat, print, print_json};
use super::super::{CliError, Context};
use crate::digest::Sha256;
use crate::executor::{DockerExecutor, Executor as _};
use crate::image::{ForeignImages, ImageSources};
use crate::resolve::{runtime, said_while_waiting};
use crate::session::{ask_repositories, infrastructure, of_remembered};

/// An image that was pulled again.
#[derive(Serialize)]
struct Updated<'a> {
    image: &'a str,
    is_changed: bool,
    identity: Sha256,
}

/// Queries repositories again, and pulls again the images that have been used.
pub(super) fn update(
    sources: &ImageSources,
    format: AnswerFormat,
    context: &Context,
) -> Result<(), CliError> {
    let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
    ask_repositories(context, sources, &foreign, true, None)?;
    let login = sources.access.login.as_ref();
    let runtime = runtime()?;
    let known = foreign.identities();
    if known.is_empty() {
        return if format.is_json() {
            print_json(&json!({ "schema": 1, "images": [] }))
        } else {
            print("no foreign image has been used yet\n")
        };
    }
    let pulling = Mutex::new("waiting for the Docker daemon to answer".to_owned());
    let line = || {
        Some(
            pulling
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    };
    let pull = async {
        let mut docker = DockerExecutor::connect().await?;
        if let Some(login) = login {
            docker = docker.with_login(&login.registry, &login.user, &login.password);
        }
        let mut pulled = Vec::new();
        for name in known.keys() {
            *pulling.lock().unwrap_or_else(PoisonError::into_inner) = format!("pulling {name}");
            pulled.push((name, docker.pull(name, true).await?));
        }
        Ok(pulled)
    };
    let pulled = runtime.block_on(said_while_waiting(context, line, pull));
    let mut updated = Vec::new();
    for (name, identity) in pulled.map_err(|error| infrastructure(&error))? {
        foreign
            .keep_identity(name, identity)
            .map_err(of_remembered)?;
        updated.push(Updated {
            image: name,
            is_changed: known.get(name) != Some(&identity),
            identity,
        });
    }
    if format.is_json() {
        return print_json(&json!({ "schema": 1, "images": updated }));
    }
    let mut text = String::new();
    for one in &updated {
        let what = if one.is_changed {
            "changed"
        } else {
            "unchanged"
        };
        text = format!("{text}{}: {what}, {}\n", one.image, one.identity);
    }
    print(&text)
}
