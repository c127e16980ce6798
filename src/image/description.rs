//! What a builder image is made of: one strict TOML file an image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::GccVersion;
use crate::digest::Sha256;
use crate::kernel::Architecture;

/// A builder image as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageDescription {
    /// Its name, also that of the file: letters, digits and hyphens.
    pub name: String,
    /// The architecture that its programs run on.
    pub host_architecture: Architecture,
    /// What is installed, beside the suite's essential packages.
    pub packages: Vec<String>,
    /// Where the packages come from.
    pub debian: DebianSource,
    /// Further names of files: the absolute path of each link, and where it leads.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// What it is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// Its C compilers; none in an image for proofs.
    #[serde(rename = "compiler", default)]
    pub compilers: Vec<Compiler>,
    /// Its clang, for probes.
    pub clang: Option<ClangDescription>,
    /// The digest of the file's text.
    #[serde(skip, default = "no_digest")]
    pub digest: Sha256,
}

/// What an image is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Builds.
    #[default]
    Build,
    /// Booting kernels to prove modules.
    Proof,
}

/// A Debian suite to make an image from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DebianSource {
    /// Its code name: `bookworm`.
    pub suite: String,
    /// Which of its archives are used.
    pub archives: Vec<DebianArchive>,
    /// Further lines of apt configuration.
    #[serde(default)]
    pub apt_options: Vec<String>,
    /// Files that are not unpacked, as dpkg's `path-exclude` takes them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Programs whose debug information is removed.
    #[serde(default)]
    pub strip: Vec<String>,
    /// For another machine's programs: packages whose libraries are put beside those of the cross compiler.
    #[serde(default)]
    pub foreign_libraries: BTreeMap<Architecture, Vec<String>>,
}

/// An archive of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebianArchive {
    /// The release itself.
    Main,
    /// Its updates between point releases.
    Updates,
    /// Its security updates, on a mirror of their own.
    Security,
}

/// A C compiler of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Compiler {
    /// Its version.
    pub gcc: GccVersion,
    /// The architecture that it compiles for.
    pub architecture: Architecture,
    /// The program: `aarch64-linux-gnu-gcc-12`.
    pub command: String,
    /// What stands before the names of its binutils: `aarch64-linux-gnu-`; empty for the image's own architecture.
    #[serde(default)]
    pub cross_prefix: String,
}

/// The clang of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClangDescription {
    /// Its major version.
    pub version: String,
    /// The program.
    pub command: String,
    /// The program that turns its intermediate code into an object file.
    pub llc: String,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It is not TOML, or not of this form.
    #[error(transparent)]
    Form(#[from] toml::de::Error),
    /// The name is another one than that of the file, or has other characters than letters, digits and hyphens.
    #[error("name `{name}` should be `{file}`, of letters, digits and hyphens")]
    Name {
        /// The name.
        name: String,
        /// The file without `.toml`.
        file: String,
    },
    /// It is for builds and has no compiler.
    #[error("it has no [[compiler]]")]
    NoCompiler,
    /// A link that is not an absolute path.
    #[error("the link `{0}` is not an absolute path")]
    Link(String),
    /// A value that would break the command line or file that it is written into.
    #[error("`{0}` has a line break, or is empty")]
    Text(String),
}

impl ImageDescription {
    /// Reads the text of `<file_stem>.toml`.
    pub(super) fn parse(text: &str, file_stem: &str) -> Result<Self, DescriptionError> {
        let mut description: Self = toml::from_str(text)?;
        description.digest = Sha256::of(text);
        let is_plain = |found: char| found.is_ascii_alphanumeric() || found == '-';
        if description.name != file_stem || !description.name.chars().all(is_plain) {
            return Err(DescriptionError::Name {
                name: description.name,
                file: file_stem.to_owned(),
            });
        }
        if description.purpose == Purpose::Build && description.compilers.is_empty() {
            return Err(DescriptionError::NoCompiler);
        }
        let debian = &description.debian;
        let lists = [
            &description.packages,
            &debian.apt_options,
            &debian.exclude,
            &debian.strip,
        ];
        if let Some(link) = description.links.keys().find(|link| !link.starts_with('/')) {
            return Err(DescriptionError::Link(link.clone()));
        }
        let links = description.links.iter().flat_map(|(link, to)| [link, to]);
        let foreign = debian.foreign_libraries.values().flatten();
        let texts = lists
            .into_iter()
            .flatten()
            .chain(foreign)
            .chain([&debian.suite])
            .chain(links);
        for text in texts {
            if text.is_empty() || text.contains('\n') {
                return Err(DescriptionError::Text(text.clone()));
            }
        }
        Ok(description)
    }

    /// The name that the image has in a Docker daemon.
    pub fn docker_name(&self) -> String {
        docker_name_of(&self.name)
    }
}

/// The name that an image of `images/` has in a Docker daemon.
pub fn docker_name_of(name: &str) -> String {
    format!("driverkit-matrix/builder:{name}")
}

fn no_digest() -> Sha256 {
    Sha256::of("")
}
