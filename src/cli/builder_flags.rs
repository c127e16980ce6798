//! Flags that choose the builder images.

use clap::Args;

use super::CliError;
use crate::driverkit::check_image_name;
use crate::image::{ImageSources, Login, OWN, RegistryAccess};

/// Where builder images come from.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BuilderFlags {
    /// Where builder images come from: an OCI repository of images in driverkit's form, the absolute path of an image
    /// index, or `own` for those described in images/; repeatable, in order of priority [default: own]
    #[arg(long = "builderrepo", value_name = "SOURCE", value_delimiter = ',', value_parser = check_source)]
    places: Vec<String>,
    /// The builder image of all builds, or `auto:TAG` to use another tag than `latest`
    #[arg(long = "builderimage", value_name = "IMAGE", value_parser = check_image)]
    image: Option<String>,
    /// Registry to log in to, such as registry.example.org:5000
    #[arg(long, value_name = "HOST", requires_all = ["registry_user", "registry_password"])]
    registry_name: Option<String>,
    /// User of that registry
    #[arg(long, value_name = "USER", requires = "registry_name")]
    registry_user: Option<String>,
    /// Password of that user
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "registry_name",
        env = "DRIVERKIT_MATRIX_REGISTRY_PASSWORD",
        hide_env_values = true
    )]
    registry_password: Option<String>,
    /// Query registries for their tags without TLS; how images are pulled is the Docker daemon's configuration
    #[arg(long)]
    registry_plain_http: bool,
}

impl BuilderFlags {
    /// Returns the sources of builder images that the flags describe.
    pub(super) fn sources(&self) -> Result<ImageSources, CliError> {
        let login = match (
            &self.registry_name,
            &self.registry_user,
            &self.registry_password,
        ) {
            (Some(registry), Some(user), Some(password)) => Some(Login {
                registry: registry.clone(),
                user: user.clone(),
                password: password.clone(),
            }),
            (None, ..) => None,
            _ => {
                return Err(CliError::input(
                    "--registry-name, --registry-user and --registry-password must be given together"
                        .to_owned(),
                ));
            }
        };
        let mut sources = ImageSources {
            access: RegistryAccess {
                login,
                is_plain_http: self.registry_plain_http,
            },
            ..ImageSources::default()
        };
        if !self.places.is_empty() {
            sources.places.clone_from(&self.places);
        }
        match self
            .image
            .as_deref()
            .map(|image| (image, image.strip_prefix("auto")))
        {
            None | Some((_, Some(""))) => {}
            Some((_, Some(tag))) if tag.starts_with(':') => tag[1..].clone_into(&mut sources.tag),
            Some((image, _)) => sources.named = Some(image.to_owned()),
        }
        Ok(sources)
    }
}

fn check_source(text: &str) -> Result<String, String> {
    if text != OWN && !text.starts_with('/') {
        check_image_name(text)?;
    }
    Ok(text.to_owned())
}

pub(super) fn check_image(text: &str) -> Result<String, String> {
    check_image_name(text)?;
    Ok(text.to_owned())
}
