//! `images list`, and `images` in driverkit's format.

use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::super::driverkit::flags::Flags;
use super::super::driverkit::{image_sources_of, values};
use super::super::image_folders::Folders;
use super::super::output::{ignore_broken_pipe, print, print_json};
use super::super::{CliError, Context, ExitStatus};
use super::error::ImagesError;
use super::{AskedAsDriverkit, ImagesArguments, ListArguments};
use crate::driverkit::{ImageRequest, Reader};
use crate::image::index::{IndexEntry, write_index};
use crate::image::{BuiltImage, Catalogue, ForeignImages, ImageSources, Maker, Offer};
use crate::kernel::{Architecture, TargetId};
use crate::session::{ask_repositories, of_remembered, of_sources};
use crate::text::write_columns;

impl AskedAsDriverkit {
    /// Returns the driverkit flags that were given, or `None` if there are none.
    pub(super) fn given(&self) -> Option<Flags> {
        let mut flags = Flags::new();
        self.build.put(&mut flags);
        self.image.put(&mut flags);
        let is_asked = !flags.is_empty() || self.process.config.is_some() || self.proxy.is_some();
        is_asked.then_some(flags)
    }
}

impl ImagesArguments {
    /// Prints the images that fit in driverkit's format, a table in Markdown.
    pub(super) fn show_as_driverkit(
        &self,
        flags: &Flags,
        context: &Context,
    ) -> Result<ExitStatus, CliError> {
        let values = values(context, flags, &self.asked.process)?;
        let request = ImageRequest::read(&values).map_err(CliError::Diagnostics)?;
        let mut reader = Reader::new(&values);
        let architecture = reader.parsed("architecture", |text| {
            text.parse::<Architecture>()
                .map_err(|error| error.to_string())
        });
        if !reader.faults.is_empty() {
            return Err(CliError::Diagnostics(reader.faults));
        }
        let target = values.text("target");
        // As in driverkit, the default is the architecture of this machine.
        let architecture = architecture.unwrap_or_else(Architecture::of_host);
        let sources = image_sources_of(&request);
        let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
        if !context.is_offline && !request.places.is_empty() {
            ask_repositories(
                context,
                &sources,
                &foreign,
                true,
                self.asked.proxy.as_deref(),
            )?;
        }
        let (offers, _) = offers(&self.folders.catalogue()?, &sources, context)?;
        let fits = |offer: &&Offer| {
            offer.architecture == architecture
                && request
                    .gcc
                    .as_ref()
                    .is_none_or(|wanted| offer.gcc.agrees_with(wanted))
                && offer
                    .target
                    .as_ref()
                    .is_none_or(|of| target.is_none_or(|wanted| of.as_str() == wanted))
        };
        let mut is_empty = true;
        let mut text = "| Image | Target | Arch | GCC |\n| --- | --- | --- | --- |\n".to_owned();
        for offer in offers.iter().filter(fits) {
            let target = offer
                .target
                .as_ref()
                .map_or("any", |target| target.as_str());
            is_empty = false;
            text = format!(
                "{text}| {} | {target} | {} | {} |\n",
                offer.image,
                offer.architecture.machine(),
                offer.gcc.with_three_numbers()
            );
        }
        print(&text)?;
        if is_empty {
            context.notice("no matching image");
            return Ok(ExitStatus::Incomplete);
        }
        Ok(ExitStatus::Success)
    }
}

/// Returns the offers of all sources. Queries repositories that were never queried.
fn offers(
    catalogue: &Catalogue,
    sources: &ImageSources,
    context: &Context,
) -> Result<(Vec<Offer>, ForeignImages), CliError> {
    let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
    if sources.is_unknown(&foreign) {
        ask_repositories(context, sources, &foreign, false, None)?;
    }
    let offers = sources.offers(catalogue, &foreign).map_err(of_sources)?;
    Ok((offers, foreign))
}

/// A compiler in an image.
#[derive(Serialize)]
struct Listed {
    image: String,
    /// The only target that the image can build for; `None` if it can build for any.
    target: Option<TargetId>,
    architecture: Architecture,
    gcc: String,
    state: &'static str,
}

/// Prints the images, with a line or an object for each compiler. The columns are those of driverkit's own list and
/// the state of the image.
pub(super) fn show(
    folders: &Folders,
    sources: &ImageSources,
    is_json: bool,
    context: &Context,
) -> Result<(), CliError> {
    let catalogue = folders.catalogue()?;
    let (offers, foreign) = offers(&catalogue, sources, context)?;
    let listed = list(&catalogue, &folders.built(context), offers, &foreign)?;
    if is_json {
        return print_json(&json!({"schema": 1, "images": listed}));
    }
    let mut rows = vec![["IMAGE", "TARGET", "ARCH", "GCC", "STATE"].map(str::to_owned)];
    rows.extend(listed.into_iter().map(|one| {
        let target = one.target.as_ref().map_or("any", TargetId::as_str);
        let target = target.to_owned();
        let architecture = one.architecture.to_string();
        [
            one.image,
            target,
            architecture,
            one.gcc,
            one.state.to_owned(),
        ]
    }));
    ignore_broken_pipe(|output| write_columns(output, [false; 5], &rows))
}

/// Prints the images as an image index. Cross compilers are left out: an index has only images that compile for the
/// architecture that they run on.
pub(super) fn show_index(wanted: &ListArguments, context: &Context) -> Result<(), CliError> {
    let sources = wanted.builder.sources()?;
    let (offers, _) = offers(&wanted.folders.catalogue()?, &sources, context)?;
    let mut entries: Vec<IndexEntry> = Vec::new();
    for offer in offers
        .iter()
        .filter(|offer| offer.host == offer.architecture)
    {
        let gcc = offer.gcc.with_three_numbers();
        match entries.iter_mut().find(|entry| entry.name == offer.image) {
            Some(entry) => entry.gcc_versions.push(gcc),
            None => entries.push(IndexEntry {
                name: offer.image.clone(),
                target: offer.target.clone(),
                architecture: offer.architecture,
                tag: sources.tag.clone(),
                gcc_versions: vec![gcc],
            }),
        }
    }
    let text = write_index(&entries).map_err(|message| {
        CliError::infrastructure(format!("failed to write the index: {message}"))
    })?;
    print(&text)
}

fn list(
    catalogue: &Catalogue,
    folder: &Path,
    offers: Vec<Offer>,
    foreign: &ForeignImages,
) -> Result<Vec<Listed>, ImagesError> {
    let mut listed = Vec::new();
    for offer in offers {
        let state = match &offer.maker {
            Maker::Own { name, .. } => {
                let built = BuiltImage::load(folder, name)?;
                let image = catalogue.get(name);
                match built.zip(image) {
                    Some((built, image)) if built.is_of(image) => "built",
                    Some(_) => "outdated",
                    None => "not built",
                }
            }
            Maker::Driverkit if foreign.identity(&offer.image).is_some() => "pulled",
            Maker::Driverkit => "not used yet",
        };
        listed.push(Listed {
            gcc: offer.gcc.to_string(),
            image: offer.image,
            target: offer.target,
            architecture: offer.architecture,
            state,
        });
    }
    Ok(listed)
}
