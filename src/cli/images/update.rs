//! `images update`: what tags and repositories stand for today.

use super::super::output::print;
use super::super::{CliError, Context};
use crate::executor::{DockerExecutor, Executor as _};
use crate::image::{ForeignImages, ImageSources};
use crate::resolve::runtime;
use crate::session::{ask_repositories, infrastructure, of_remembered};

/// Asks repositories again, and pulls images again that were used.
pub(super) fn update(sources: &ImageSources, context: &Context) -> Result<(), CliError> {
    let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
    ask_repositories(sources, &foreign, true, None)?;
    let login = sources.access.login.as_ref();
    let runtime = runtime()?;
    let known = foreign.identities();
    if known.is_empty() {
        return print("no foreign image has been used yet\n");
    }
    let pulled = runtime.block_on(async {
        let mut docker = DockerExecutor::connect().await?;
        if let Some(login) = login {
            docker = docker.with_login(&login.registry, &login.user, &login.password);
        }
        let mut pulled = Vec::new();
        for name in known.keys() {
            pulled.push((name, docker.pull(name, true).await?));
        }
        Ok(pulled)
    });
    let mut text = String::new();
    for (name, identity) in pulled.map_err(|error| infrastructure(&error))? {
        let what = if known.get(name) == Some(&identity) {
            "unchanged"
        } else {
            "changed"
        };
        foreign
            .keep_identity(name, identity)
            .map_err(of_remembered)?;
        text = format!("{text}{name}: {what}, {identity}\n");
    }
    print(&text)
}
