use super::super::index::entry_of_tag;
use super::*;

const AMD64: Architecture = Architecture::Amd64;
const ARM64: Architecture = Architecture::Arm64;

/// Returns the offers of repositories, each given with its tags.
fn offers(repositories: &[(&str, &[&str])]) -> Vec<Offer> {
    let entries = repositories.iter().flat_map(|(repository, tags)| {
        tags.iter()
            .map(move |tag| entry_of_tag(repository, tag).expect(tag))
    });
    entries
        .flat_map(|entry| Offer::of_entry(&entry).collect::<Vec<_>>())
        .collect()
}

fn chosen(
    offers: &[Offer],
    gcc: &str,
    target: &str,
    is_demanded: bool,
) -> Result<(String, String, ChoiceReason), NoCompiler> {
    let wanted = Wanted {
        gcc: &gcc.parse().unwrap(),
        is_demanded,
        target: &target.parse().unwrap(),
        architecture: AMD64,
        host: AMD64,
    };
    let (offer, reason) = choose(offers, &wanted)?;
    Ok((offer.image.clone(), offer.gcc.to_string(), reason))
}

/// The set of images that driverkit publishes.
const PUBLISHED: &[&str] = &[
    "any-x86_64_gcc14.0.0-latest",
    "any-x86_64_gcc13.0.0-latest",
    "any-x86_64_gcc12.0.0_gcc11.0.0-latest",
    "any-aarch64_gcc12.0.0_gcc11.0.0-latest",
    "any-x86_64_gcc10.0.0_gcc9.0.0-latest",
    "any-x86_64_gcc8.0.0_gcc6.0.0_gcc5.0.0_gcc4.9.0_gcc4.8.0-latest",
    "centos-x86_64_gcc4.8.5-latest",
    "amazonlinux2-x86_64_gcc10.0.0-latest",
];

#[test]
fn the_published_images_are_chosen_as_driverkit_does() {
    let offers = offers(&[("r", PUBLISHED)]);
    for (gcc, target, image, used, reason) in [
        (
            "12",
            "debian",
            "any-x86_64_gcc12.0.0_gcc11.0.0",
            "12.0.0",
            ChoiceReason::Exact,
        ),
        (
            "10",
            "debian",
            "any-x86_64_gcc10.0.0_gcc9.0.0",
            "10.0.0",
            ChoiceReason::Exact,
        ),
        (
            "10",
            "amazonlinux2",
            "amazonlinux2-x86_64_gcc10.0.0",
            "10.0.0",
            ChoiceReason::Exact,
        ),
        (
            "4.8.5",
            "centos",
            "centos-x86_64_gcc4.8.5",
            "4.8.5",
            ChoiceReason::Exact,
        ),
        (
            "9",
            "centos",
            "any-x86_64_gcc10.0.0_gcc9.0.0",
            "9.0.0",
            ChoiceReason::Exact,
        ),
        // The image for CentOS does not apply to Debian, so 4.8.0 is the nearest version below 4.8.5.
        (
            "4.8.5",
            "debian",
            "any-x86_64_gcc8.0.0_gcc6.0.0_gcc5.0.0_gcc4.9.0_gcc4.8.0",
            "4.8.0",
            ChoiceReason::NearestLower,
        ),
        (
            "7.3.0",
            "flatcar",
            "any-x86_64_gcc8.0.0_gcc6.0.0_gcc5.0.0_gcc4.9.0_gcc4.8.0",
            "6.0.0",
            ChoiceReason::NearestLower,
        ),
        (
            "16",
            "arch",
            "any-x86_64_gcc14.0.0",
            "14.0.0",
            ChoiceReason::NearestLower,
        ),
        (
            "4.1",
            "debian",
            "any-x86_64_gcc8.0.0_gcc6.0.0_gcc5.0.0_gcc4.9.0_gcc4.8.0",
            "4.8.0",
            ChoiceReason::Lowest,
        ),
    ] {
        let expected = (format!("r:{image}-latest"), used.to_owned(), reason);
        assert_eq!(
            chosen(&offers, gcc, target, false),
            Ok(expected),
            "{gcc} {target}"
        );
    }
}

#[test]
fn the_first_repository_wins() {
    let offers = offers(&[
        ("private", &["any-x86_64_gcc12.0.0-latest"]),
        ("public", PUBLISHED),
        ("late", &["amazonlinux2-x86_64_gcc12.0.0-latest"]),
    ]);
    let image = |gcc, target| chosen(&offers, gcc, target, false).unwrap().0;
    assert_eq!(image("12", "debian"), "private:any-x86_64_gcc12.0.0-latest");
    assert_eq!(
        image("11", "debian"),
        "public:any-x86_64_gcc12.0.0_gcc11.0.0-latest"
    );
    // Images for a target take precedence over images for all targets, regardless of their source.
    assert_eq!(
        image("12", "amazonlinux2"),
        "late:amazonlinux2-x86_64_gcc12.0.0-latest"
    );
}

#[test]
fn a_requested_version_is_found_or_named_in_the_error() {
    let offers = offers(&[("r", PUBLISHED)]);
    assert_eq!(chosen(&offers, "9", "debian", true).unwrap().1, "9.0.0");
    let error = chosen(&offers, "7", "debian", true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no builder image has gcc 7 for amd64, which is required; available are 4.8.0, 4.9.0, 5.0.0, 6.0.0, 8.0.0, \
         9.0.0, 10.0.0, 11.0.0, 12.0.0, 13.0.0, 14.0.0"
    );
}

#[test]
fn images_of_other_architectures_are_not_used() {
    let offers = offers(&[("r", &["any-x86_64_gcc12.0.0-latest"])]);
    for (architecture, host) in [(ARM64, AMD64), (AMD64, ARM64), (ARM64, ARM64)] {
        let wanted = Wanted {
            gcc: &"12".parse().unwrap(),
            is_demanded: false,
            target: &"debian".parse().unwrap(),
            architecture,
            host,
        };
        let error = choose(&offers, &wanted).unwrap_err();
        assert_eq!(error, NoCompiler::None { architecture, host });
    }
}

/// With the images of this repository, kernels of both architectures get the compiler that built them.
#[test]
fn the_projects_images_have_the_compilers_of_real_kernels() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let catalogue = super::super::Catalogue::read(&folder).expect("the folder images/");
    let offers: Vec<Offer> = catalogue
        .images()
        .iter()
        .flat_map(Offer::of_description)
        .collect();
    for (gcc, image) in [
        ("10", "bullseye"),
        ("11", "bookworm"),
        ("12.2.0", "bookworm"),
        ("13", "trixie"),
        ("14", "trixie"),
        ("16", "sid"),
    ] {
        for architecture in Architecture::ALL {
            let wanted = Wanted {
                gcc: &gcc.parse().unwrap(),
                is_demanded: true,
                target: &"debian".parse().unwrap(),
                architecture,
                host: AMD64,
            };
            let (offer, reason) = choose(&offers, &wanted).expect("a compiler");
            assert_eq!(reason, ChoiceReason::Exact);
            let Maker::Own { name, compiler } = &offer.maker else {
                panic!("not ours: {offer:?}")
            };
            assert_eq!(name, image);
            let is_cross = architecture == ARM64;
            assert_eq!(compiler.command.starts_with("aarch64-linux-gnu-"), is_cross);
            assert_eq!(compiler.cross_prefix.is_empty(), !is_cross);
        }
    }
}
