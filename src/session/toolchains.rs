//! Builder images and compilers that a run may use, and whose repositories are asked for them.

use std::path::Path;

use crate::error::chain;
use crate::executor::{ExecutorError, HostToolchain};
use crate::fetch;
use crate::image::{
    Catalogue, ForeignImages, ForeignImagesError, GccVersion, ImageSources, ImageSourcesError,
};
use crate::kernel::Architecture;
use crate::recipe::{BuilderImages, Toolchains};
use crate::resolve::ResolveError;

/// Refuses to begin without any builder image.
pub fn check_images(toolchains: &Toolchains) -> Result<(), ResolveError> {
    match toolchains {
        Toolchains::Images(images) if !images.is_usable() => Err(ResolveError::Infrastructure {
            message: "no builder image is built".to_owned(),
            help: Some(
                "make them with `driverkit-matrix images build`, or use this machine's compilers with `--executor local \
                 --toolchain host`"
                    .to_owned(),
            ),
        }),
        _ => Ok(()),
    }
}

/// The own images in `folder` and those of others. Repositories that were never asked for their tags are asked.
pub fn builder_images(
    catalogue: Catalogue,
    folder: &Path,
    sources: ImageSources,
    foreign: ForeignImages,
    asks: bool,
) -> Result<BuilderImages, ResolveError> {
    if asks && sources.is_unknown(&foreign) {
        ask_repositories(&sources, &foreign, false, None)?;
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

/// Asks repositories for their tags: those that were never asked, or all of them. Without a proxy that which the
/// environment names.
pub fn ask_repositories(
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            ResolveError::infrastructure(format!("failed to start the runtime: {error}"))
        })?;
    let asked = runtime.block_on(sources.ask(foreign, &client, all));
    asked.map_err(of_sources)
}

/// What is remembered of images of others cannot be read.
pub fn of_remembered(error: ForeignImagesError) -> ResolveError {
    of_sources(error.into())
}

/// A source of images that cannot be asked or is described wrongly.
pub fn of_sources(error: ImageSourcesError) -> ResolveError {
    match error {
        ImageSourcesError::Index(diagnostic) => ResolveError::Diagnostics(vec![*diagnostic]),
        error => ResolveError::infrastructure(error.to_string()),
    }
}

/// An executor that cannot be used at all.
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

/// What a fake toolchain claims to have.
pub fn all_compilers() -> Vec<(Architecture, GccVersion)> {
    let versions = ["8", "10", "11", "12", "13", "14", "15", "16"];
    let of = |architecture| {
        versions
            .iter()
            .filter_map(move |text| Some((architecture, text.parse().ok()?)))
    };
    Architecture::ALL.into_iter().flat_map(of).collect()
}
