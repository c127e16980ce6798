//! `images`: lists the builder images, and builds them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use url::Url;

use super::builder_flags::BuilderFlags;
use super::driverkit::flags::{BuildFlags, Flags, ImageFlags, ProcessFlags};
use super::driverkit::{image_sources_of, values};
use super::execution::{ask_repositories, infrastructure, of_remembered, of_sources};
use super::output::print;
use super::{CliError, Context, ExitStatus};
use crate::driverkit::{ImageRequest, Reader};
use crate::executor::{DockerExecutor, Executor as _};
use crate::image::build::{self, BuildError, BuildOutcome, DebianMirror};
use crate::image::index::{IndexEntry, write_index};
use crate::image::{
    BuiltImage, Catalogue, CatalogueError, ForeignImages, ImageDescription, ImageSources, Maker,
    Offer, RecordError,
};
use crate::kernel::Architecture;
use crate::kernel::TargetId;

/// Where builder images are described and kept.
#[derive(Clone, Debug, Args)]
pub(super) struct Folders {
    /// Folder with the descriptions of builder images
    #[arg(
        long,
        value_name = "DIR",
        default_value = "images",
        env = "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS"
    )]
    pub(super) image_descriptions: PathBuf,
    /// Folder that keeps the built images [default: images in the cache folder]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGES")]
    pub(super) images: Option<PathBuf>,
}

impl Folders {
    /// The folder that keeps the built images.
    pub(super) fn built(&self, context: &Context) -> PathBuf {
        self.images
            .clone()
            .unwrap_or_else(|| context.cache.join("images"))
    }
}

/// List the builder images, or build them
#[derive(Debug, Args)]
pub(super) struct ImagesArguments {
    #[command(subcommand)]
    command: Option<ImagesCommand>,
    #[command(flatten)]
    folders: Folders,
    #[command(flatten)]
    asked: AskedAsDriverkit,
}

/// driverkit's flags: with any of them, the images are listed as driverkit does.
#[derive(Debug, Args)]
struct AskedAsDriverkit {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    image: ImageFlags,
    #[command(flatten)]
    process: ProcessFlags,
}

#[derive(Debug, Subcommand)]
enum ImagesCommand {
    /// List the images, their compilers, and whether they are built (the default)
    List(ListArguments),
    /// Build images that are missing, or whose description has changed, from the packages of --mirror debian=URL
    /// and, for security updates, --mirror debian-security=URL
    Build(Box<BuildArguments>),
    /// Ask repositories again which images they have, and pull again those that were used, so that the next run takes
    /// what their tags stand for today
    Update(Box<UpdateArguments>),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// How they are listed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    #[command(flatten)]
    folders: Folders,
    #[command(flatten)]
    builder: BuilderFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// A table
    Table,
    /// An image index as driverkit reads it
    Index,
}

#[derive(Debug, Args)]
struct UpdateArguments {
    #[command(flatten)]
    builder: BuilderFlags,
}

#[derive(Debug, Args)]
struct BuildArguments {
    /// The images to build; all that run on this machine when none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Build also what is there, with the packages of today
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    folders: Folders,
}

/// Why `images` failed.
#[derive(Debug, thiserror::Error)]
enum ImagesError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("no builder image is called `{name}`; there are {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("failed to write the list: {0}")]
    Output(#[from] io::Error),
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Catalogue(_) | ImagesError::Unknown { .. } => {
                Self::input(error.to_string())
            }
            _ => Self::Infrastructure {
                message: error.to_string(),
            },
        }
    }
}

impl ImagesArguments {
    /// Runs the command. Building blocks the thread.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        match self.command {
            Some(ImagesCommand::Build(wanted)) => {
                let catalogue = read(&wanted.folders)?;
                let mirror = mirror(context)?;
                build_all(
                    &catalogue,
                    &wanted,
                    &wanted.folders.built(context),
                    &mirror,
                    &mut io::stdout(),
                )?;
            }
            Some(ImagesCommand::List(wanted)) if wanted.format == ListFormat::Index => {
                show_index(&wanted, context)?;
            }
            Some(ImagesCommand::List(wanted)) => {
                show(&wanted.folders, &wanted.builder.sources()?, context)?;
            }
            Some(ImagesCommand::Update(wanted)) => {
                update(&wanted.builder.sources()?, context)?;
            }
            None => match self.asked.given() {
                Some(flags) => self.show_as_driverkit(&flags, context)?,
                None => show(&self.folders, &ImageSources::default(), context)?,
            },
        }
        Ok(ExitStatus::Success)
    }
}

impl AskedAsDriverkit {
    /// What was given; nothing where no flag was.
    fn given(&self) -> Option<Flags> {
        let mut flags = Flags::new();
        self.build.put(&mut flags);
        self.image.put(&mut flags);
        (!flags.is_empty() || self.process.config.is_some()).then_some(flags)
    }
}

impl ImagesArguments {
    /// Prints the images that fit as driverkit prints them: a table in Markdown.
    fn show_as_driverkit(&self, flags: &Flags, context: &Context) -> Result<(), CliError> {
        let values = values(context, flags, self.asked.process.config.as_deref())?;
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
        let (offers, _) = offers(&read(&self.folders)?, &image_sources_of(&request), context)?;
        let fits = |offer: &&Offer| {
            architecture.is_none_or(|wanted| offer.architecture == wanted)
                && request
                    .gcc
                    .as_ref()
                    .is_none_or(|wanted| offer.gcc.agrees_with(wanted))
                && offer
                    .target
                    .as_ref()
                    .is_none_or(|of| target.is_none_or(|wanted| of.as_str() == wanted))
        };
        let mut text = "| Image | Target | Arch | GCC |\n| --- | --- | --- | --- |\n".to_owned();
        for offer in offers.iter().filter(fits) {
            let target = offer
                .target
                .as_ref()
                .map_or("any", |target| target.as_str());
            text = format!(
                "{text}| {} | {target} | {} | {} |\n",
                offer.image,
                offer.architecture.machine(),
                offer.gcc.with_three_numbers()
            );
        }
        print(&text)
    }
}

/// The offers of all sources; asks repositories that were never asked.
fn offers(
    catalogue: &Catalogue,
    sources: &ImageSources,
    context: &Context,
) -> Result<(Vec<Offer>, ForeignImages), CliError> {
    let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
    if sources.is_unknown(&foreign) {
        ask_repositories(sources, &foreign, false)?;
    }
    let offers = sources.offers(catalogue, &foreign).map_err(of_sources)?;
    Ok((offers, foreign))
}

fn show(folders: &Folders, sources: &ImageSources, context: &Context) -> Result<(), CliError> {
    let catalogue = read(folders)?;
    let (offers, foreign) = offers(&catalogue, sources, context)?;
    let mut text = Vec::new();
    list(
        &catalogue,
        &folders.built(context),
        &offers,
        &foreign,
        &mut text,
    )?;
    print(&String::from_utf8_lossy(&text))
}

/// Prints the images as an image index. Cross compilers are left out: in such an index an image compiles for the
/// architecture that it runs on.
fn show_index(wanted: &ListArguments, context: &Context) -> Result<(), CliError> {
    let sources = wanted.builder.sources()?;
    let (offers, _) = offers(&read(&wanted.folders)?, &sources, context)?;
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
    let text = write_index(&entries).map_err(|message| CliError::Infrastructure {
        message: format!("failed to write the index: {message}"),
    })?;
    print(&text)
}

/// Asks repositories again, and pulls images again that were used.
fn update(sources: &ImageSources, context: &Context) -> Result<(), CliError> {
    let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
    ask_repositories(sources, &foreign, true)?;
    let login = sources.access.login.as_ref();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Infrastructure {
            message: format!("failed to start the runtime: {error}"),
        })?;
    let known = foreign.identities();
    if known.is_empty() {
        return print("no image of others was used yet\n");
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

fn read(folders: &Folders) -> Result<Catalogue, ImagesError> {
    Ok(Catalogue::read(&folders.image_descriptions)?)
}

fn mirror(context: &Context) -> Result<DebianMirror, CliError> {
    let parse = |name: &str| {
        let url = context.mirrors.get(name)?;
        Some(
            url.parse::<Url>()
                .map_err(|error| CliError::input(format!("mirror {name}={url}: {error}"))),
        )
    };
    let main = parse("debian").ok_or_else(|| CliError::Input {
        message: "images are made from Debian's packages, and no mirror of them is named"
            .to_owned(),
        help: Some("add --mirror debian=URL, or set DRIVERKIT_MATRIX_MIRROR_DEBIAN".to_owned()),
    })??;
    Ok(DebianMirror {
        main,
        security: parse("debian-security").transpose()?,
    })
}

/// One line a compiler, in the columns of driverkit's own list, and whether the image is there.
fn list(
    catalogue: &Catalogue,
    folder: &Path,
    offers: &[Offer],
    foreign: &ForeignImages,
    output: &mut dyn Write,
) -> Result<(), ImagesError> {
    let mut rows = vec![["IMAGE", "TARGET", "ARCH", "GCC", "STATE"].map(str::to_owned)];
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
        let target = offer.target.as_ref().map_or("any", TargetId::as_str);
        rows.push([
            offer.image.clone(),
            target.to_owned(),
            offer.architecture.machine().to_owned(),
            offer.gcc.to_string(),
            state.to_owned(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [image, target, architecture, gcc] = [0, 1, 2, 3].map(width);
    for [a, b, c, d, state] in &rows {
        writeln!(
            output,
            "{a:image$}  {b:target$}  {c:architecture$}  {d:gcc$}  {state}"
        )?;
    }
    Ok(())
}

/// Builds as many images at once as there are cores; where some fail, builds the others, and gives the first error.
fn build_all(
    catalogue: &Catalogue,
    wanted: &BuildArguments,
    folder: &Path,
    mirror: &DebianMirror,
    output: &mut dyn Write,
) -> Result<(), ImagesError> {
    let images = named(catalogue, &wanted.names)?;
    let (finished, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            images.par_iter().for_each(|image| {
                let start = Instant::now();
                let outcome = build::build(image, mirror, folder, wanted.force);
                // Nobody listens any more once the output has failed.
                drop(finished.send((start.elapsed(), outcome)));
            });
        });
        let mut result = Ok(());
        for (took, outcome) in outcomes {
            match outcome {
                Ok(outcome) => tell(&outcome, took, output)?,
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        result
    })
}

fn tell(outcome: &BuildOutcome, took: Duration, output: &mut dyn Write) -> io::Result<()> {
    let (built, how) = match outcome {
        BuildOutcome::Built(built) => (built, format!("built in {:.0} s", took.as_secs_f64())),
        BuildOutcome::AlreadyThere(built) => (built, "already there".to_owned()),
    };
    let megabytes = built.archive_size_bytes / 1_000_000;
    let (name, archive) = (&built.name, built.archive.display());
    writeln!(output, "{name}: {how}, {megabytes} MB, {archive}")
}

fn named<'a>(
    catalogue: &'a Catalogue,
    names: &[String],
) -> Result<Vec<&'a ImageDescription>, ImagesError> {
    let host = crate::kernel::Architecture::of_host();
    let all = catalogue.images();
    if names.is_empty() {
        return Ok(all
            .iter()
            .filter(|image| image.host_architecture == host)
            .collect());
    }
    let find = |name: &String| {
        catalogue.get(name).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|image| image.name.as_str()).collect();
            ImagesError::Unknown {
                name: name.clone(),
                known: known.join(", "),
            }
        })
    };
    names.iter().map(find).collect()
}
