//! Builder images and compilers that a run may use.

use std::path::Path;

use crate::error::chain;
use crate::executor::{ExecutorError, HostToolchain};
use crate::fetch;
use crate::image::{
    Catalogue, ForeignImages, ForeignImagesError, GccVersion, ImageSources, ImageSourcesError,
};
use crate::kernel::Architecture;
use crate::recipe::{BuilderImages, Toolchains};
use crate::resolve::{Context, ResolveError, runtime, said_while_waiting};

/// Returns an error if no builder image exists.
pub fn check_images(toolchains: &Toolchains) -> Result<(), ResolveError> {
    match toolchains {
        Toolchains::Images(images) if !images.is_usable() => Err(ResolveError::Infrastructure {
            message: "no builder image is built".to_owned(),
            help: Some(
                "build them with `driverkit-matrix images build`, or use this machine's compilers with `--executor local \
                 --toolchain host`"
                    .to_owned(),
            ),
        }),
        _ => Ok(()),
    }
}

/// Returns the images built in `folder` and foreign ones. Queries repositories whose tags are not yet known.
pub fn builder_images(
    context: &Context,
    catalogue: Catalogue,
    folder: &Path,
    sources: ImageSources,
    foreign: ForeignImages,
    asks: bool,
) -> Result<BuilderImages, ResolveError> {
    if asks && sources.is_unknown(&foreign) {
        ask_repositories(context, &sources, &foreign, false, None)?;
    }
    let offers = sources.offers(&catalogue, &foreign).map_err(of_sources)?;
    Ok(BuilderImages::new(
        catalogue,
        folder,
        offers,
        sources.named,
        foreign,
    ))
}

/// Queries the tags of repositories: of all, or of those whose tags are not yet known. Without `proxy`, the proxy of the
/// environment is used.
pub fn ask_repositories(
    context: &Context,
    sources: &ImageSources,
    foreign: &ForeignImages,
    all: bool,
    proxy: Option<&str>,
) -> Result<(), ResolveError> {
    let settings = fetch::Settings {
        proxy: proxy.map(str::to_owned),
        ..fetch::Settings::default()
    };
    let client = fetch::make_client(&settings)
        .map_err(|error| of_sources(ImageSourcesError::Client(error)))?;
    let runtime = runtime()?;
    let repositories: Vec<&str> = sources.repositories().collect();
    let line = || Some(format!("asking {} for their tags", repositories.join(", ")));
    let asked = said_while_waiting(context, line, sources.ask(foreign, &client, all));
    runtime.block_on(asked).map_err(of_sources)
}

/// Converts an error of reading the cached state of foreign images.
pub fn of_remembered(error: ForeignImagesError) -> ResolveError {
    of_sources(error.into())
}

/// Converts an error of a source of images.
pub fn of_sources(error: ImageSourcesError) -> ResolveError {
    match error {
        ImageSourcesError::Index(diagnostic) => ResolveError::Diagnostics(vec![*diagnostic]),
        error => ResolveError::infrastructure(error.to_string()),
    }
}

/// Converts an error of an executor that cannot be used.
pub fn infrastructure(error: &ExecutorError) -> ResolveError {
    ResolveError::Infrastructure {
        message: chain(error),
        help: error.help().map(str::to_owned),
    }
}

/// The compilers that can be called by their version: `gcc-12`, `aarch64-linux-gnu-gcc-12`.
pub fn compilers_of(host: &HostToolchain) -> Vec<(Architecture, GccVersion)> {
    let compiler = |name: &String| {
        let (prefix, version) = name.rsplit_once("gcc-")?;
        let architecture = match prefix {
            "" => Architecture::of_host(),
            prefix => prefix.strip_suffix("-linux-gnu-")?.parse().ok()?,
        };
        Some((architecture, version.parse().ok()?))
    };
    host.facts.keys().filter_map(compiler).collect()
}

/// Returns the compilers that a fake toolchain claims to have.
pub fn all_compilers() -> Vec<(Architecture, GccVersion)> {
    let versions = ["8", "10", "11", "12", "13", "14", "15", "16"];
    let of = |architecture| {
        versions
            .iter()
            .filter_map(move |text| Some((architecture, text.parse().ok()?)))
    };
    Architecture::ALL.into_iter().flat_map(of).collect()
}
