//! Ensures that the daemon's image under a name is the wanted one: imports its archive, or pulls it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use tokio_util::io::ReaderStream;

use super::super::{ExecutorError, Toolchain, image_identity};
use super::DockerExecutor;
use super::connection::{failure, has_status};
use crate::digest::Sha256;

const READ_BYTES: usize = 1 << 20;

impl DockerExecutor {
    /// Ensures that the daemon has the image, once for each image, and returns its id. A name may be moved to another
    /// image during a run; an id may not.
    pub(super) async fn ready_image(&self, toolchain: &Toolchain) -> Result<String, ExecutorError> {
        let Toolchain::Image {
            name,
            identity,
            archive,
        } = toolchain
        else {
            return Err(ExecutorError::infrastructure(
                "executor `docker` cannot use the compilers of this machine; use `--executor local`",
            ));
        };
        let key = (name.clone(), *identity);
        let cell = Arc::clone(self.images.lock().await.entry(key).or_default());
        cell.get_or_try_init(|| self.ensure(name, *identity, archive.as_deref()))
            .await
            .cloned()
    }

    async fn ensure(
        &self,
        name: &str,
        wanted: Sha256,
        archive: Option<&Path>,
    ) -> Result<String, ExecutorError> {
        let there = match (image_of(&self.docker, name).await?, archive) {
            (Some(there), _) if there.identity == wanted => there,
            (_, Some(archive)) => return import(&self.docker, name, wanted, archive).await,
            (Some(there), None) => there,
            (None, None) => pull_now(&self.docker, name, &self.logins).await?,
        };
        let found = there.identity;
        if found == wanted {
            return Ok(there.id);
        }
        Err(ExecutorError::Image {
            image: name.to_owned(),
            message: format!(
                "it has identity {found}, not {wanted} as at its first use: accept the new one with \
                 `driverkit-matrix images update`"
            ),
        })
    }
}

/// Returns the identity of an image that was not built here. The daemon pulls it if it does not have it, or in any
/// case if `anew` is set.
pub(super) async fn pull(
    docker: &Docker,
    name: &str,
    logins: &HashMap<String, DockerCredentials>,
    anew: bool,
) -> Result<Sha256, ExecutorError> {
    let there = match image_of(docker, name).await? {
        Some(there) if !anew => there,
        _ => pull_now(docker, name, logins).await?,
    };
    Ok(there.identity)
}

async fn pull_now(
    docker: &Docker,
    name: &str,
    logins: &HashMap<String, DockerCredentials>,
) -> Result<ImageThere, ExecutorError> {
    let image_error = |message: String| ExecutorError::Image {
        image: name.to_owned(),
        message,
    };
    let host = name.split_once('/').map_or("docker.io", |(host, _)| host);
    let login = logins.get(host).or_else(|| {
        // A name without a host belongs to Docker Hub.
        let has_host = host.contains(['.', ':']) || host == "localhost";
        if has_host {
            None
        } else {
            logins.get("docker.io")
        }
    });
    let options = CreateImageOptionsBuilder::new();
    let options = if name.contains('@') {
        // The name contains a digest.
        options.from_image(name)
    } else {
        let (repository, tag) = split_name(name);
        options.from_image(repository).tag(tag)
    };
    let options = options.build();
    let pulled = docker.create_image(Some(options), None, login.cloned());
    let steps: Result<Vec<_>, _> = pulled.try_collect().await;
    steps.map_err(|error| {
        image_error(format!(
            "the Docker daemon does not have the image and cannot pull it: {error}"
        ))
    })?;
    let found = image_of(docker, name).await?;
    found.ok_or_else(|| {
        image_error("the Docker daemon does not have the image after pulling it".to_owned())
    })
}

/// An image that the daemon has.
struct ImageThere {
    /// The daemon's id of the image, which never denotes another image.
    id: String,
    identity: Sha256,
}

/// Returns the daemon's image with this name or id, if it exists.
async fn image_of(docker: &Docker, name: &str) -> Result<Option<ImageThere>, ExecutorError> {
    match docker.inspect_image(name).await {
        Ok(image) => {
            let layers = image.root_fs.and_then(|files| files.layers);
            Ok(Some(ImageThere {
                id: image.id.unwrap_or_else(|| name.to_owned()),
                identity: image_identity(&layers.unwrap_or_default()),
            }))
        }
        Err(error) if has_status(&error, 404) => Ok(None),
        Err(error) => Err(failure(&format!("inspect image {name}"), error)),
    }
}

/// Imports the archive without a name, tags it only if its identity is the wanted one, and returns its id.
async fn import(
    docker: &Docker,
    name: &str,
    wanted: Sha256,
    archive: &Path,
) -> Result<String, ExecutorError> {
    let image_error = |message: String| ExecutorError::Image {
        image: name.to_owned(),
        message,
    };
    let file = tokio::fs::File::open(archive).await.map_err(|error| {
        image_error(format!(
            "failed to open its archive {}: {error}",
            archive.display()
        ))
    })?;
    let body = bollard::body_try_stream(ReaderStream::with_capacity(file, READ_BYTES));
    let options = CreateImageOptionsBuilder::new().from_src("-").build();
    let progress: Vec<_> = docker
        .create_image(Some(options), Some(body), None)
        .try_collect()
        .await
        .map_err(|error| failure(&format!("import {}", archive.display()), error))?;
    let id = progress
        .into_iter()
        .filter_map(|step| step.status)
        .rfind(|status| status.starts_with("sha256:"))
        .ok_or_else(|| {
            image_error("the Docker daemon imported the image without reporting its id".into())
        })?;
    let found = image_of(docker, &id).await?.map(|there| there.identity);
    if found != Some(wanted) {
        // An image without a name cannot be mistaken for the right one; if this fails, it only wastes space.
        drop(
            docker
                .remove_image(&id, None::<RemoveImageOptions>, None)
                .await,
        );
        return Err(image_error(format!(
            "its archive {} has identity {}, not {wanted}: \
             rebuild the builder images (`driverkit-matrix images build`)",
            archive.display(),
            found.map_or_else(|| "none".to_owned(), |found| found.to_string()),
        )));
    }
    let (repository, tag) = split_name(name);
    let options = TagImageOptionsBuilder::new()
        .repo(repository)
        .tag(tag)
        .build();
    docker
        .tag_image(&id, Some(options))
        .await
        .map_err(|error| failure(&format!("tag image {name}"), error))?;
    Ok(id)
}

/// Splits an image name into repository and tag.
fn split_name(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        // A colon before a slash belongs to a registry's port.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_tag() {
        for (name, expected) in [
            ("a/b:c", ("a/b", "c")),
            ("a", ("a", "latest")),
            ("host:5000/a", ("host:5000/a", "latest")),
            ("host:5000/a:b", ("host:5000/a", "b")),
        ] {
            assert_eq!(split_name(name), expected);
        }
    }
}
