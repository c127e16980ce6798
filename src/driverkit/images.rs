//! The requested builder image, validated.

use super::names::{check_image_name, parse_gcc};
use super::reader::Reader;
use super::values::Values;
use crate::diagnostic::Diagnostic;
use crate::image::GccVersion;

/// The requested builder image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Image {
    /// Chosen by target, architecture and compiler.
    #[default]
    Automatic,
    /// Chosen like [`Self::Automatic`], but among images with this tag instead of `latest`.
    Tagged(String),
    /// The image with this name.
    Named(String),
}

/// The login for the registry of builder images.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// The registry's host.
    pub name: String,
    /// The user.
    pub user: String,
    /// The password; never shown.
    pub password: String,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Registry({} at {})", self.user, self.name)
    }
}

/// The requested builder image, and the sources of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRequest {
    /// The compiler that the command line requires.
    pub gcc: Option<GccVersion>,
    /// The builder image.
    pub image: Image,
    /// The sources of builder images, in the order in which they are queried.
    pub places: Vec<String>,
    /// The login for the registry.
    pub registry: Option<Registry>,
    /// True if registries are queried without TLS.
    pub is_plain_http: bool,
}

impl ImageRequest {
    /// Validates the values; the error has all faults.
    pub fn read(values: &Values) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(values);
        let images = images(&mut reader);
        if reader.faults.is_empty() {
            Ok(images)
        } else {
            Err(reader.faults)
        }
    }
}

pub(super) fn images(reader: &mut Reader<'_>) -> ImageRequest {
    ImageRequest {
        gcc: reader.parsed("gccversion", parse_gcc),
        image: image(reader),
        places: reader.list("builderrepo", |text| {
            if text.starts_with('/') {
                Ok(())
            } else {
                check_image_name(text)
            }
        }),
        registry: registry(reader),
        is_plain_http: reader.is_set("registry-plain-http"),
    }
}

pub(super) fn image(reader: &mut Reader<'_>) -> Image {
    let image = reader.parsed("builderimage", |text| match text.strip_prefix("auto") {
        Some("") => Ok(Image::Automatic),
        Some(rest) if rest.starts_with(':') => {
            let tag = &rest[1..];
            let is_tag = (1..=128).contains(&tag.len())
                && tag
                    .chars()
                    .all(|found| found.is_ascii_alphanumeric() || "._-".contains(found));
            if is_tag {
                Ok(Image::Tagged(tag.to_owned()))
            } else {
                Err(format!("invalid tag `{tag}`: expected auto:latest"))
            }
        }
        _ => check_image_name(text).map(|()| Image::Named(text.to_owned())),
    });
    image.unwrap_or_default()
}

fn registry(reader: &mut Reader<'_>) -> Option<Registry> {
    let keys = ["registry-name", "registry-user", "registry-password"];
    let texts = keys.map(|key| reader.values.text(key).map(str::to_owned));
    match texts {
        [Some(name), Some(user), Some(password)] => {
            reader.parsed("registry-name", check_image_name);
            Some(Registry {
                name,
                user,
                password,
            })
        }
        [None, None, None] => None,
        texts => {
            let missing: Vec<&str> = keys
                .into_iter()
                .zip(&texts)
                .filter(|(_, text)| text.is_none())
                .map(|(key, _)| key)
                .collect();
            reader.faults.push(Diagnostic::error(format!(
                "the registry login is incomplete: {} missing",
                match missing.as_slice() {
                    [one] => format!("`{one}` is"),
                    some => format!("`{}` are", some.join("` and `")),
                }
            )));
            None
        }
    }
}
