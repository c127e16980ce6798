use super::*;
use proptest::prelude::*;

fn release(text: &str) -> KernelRelease {
    text.parse().expect(text)
}

#[test]
fn numbers_of_real_releases_are_parsed() {
    for (text, numbers) in [
        ("5.5.2-arch1-1", [5, 5, 2]),
        ("5.19.3.arch1-1", [5, 19, 3]),
        ("7", [7, 0, 0]),
        ("6.4-rc1", [6, 4, 0]),
        ("6.0~rc7-1~exp1-amd64", [6, 0, 0]),
        ("3.10.0-957.12.2.el7.aarch64", [3, 10, 0]),
        ("4.19+105+deb10u4~bpo9+1", [4, 19, 105]),
        ("5.15.146+", [5, 15, 146]),
        ("5.15.0-1004_x", [5, 15, 0]),
        ("3185.0.0", [3185, 0, 0]),
    ] {
        assert_eq!(release(text).numbers(), numbers, "{text}");
        assert_eq!(release(text).to_string(), text);
    }
}

#[test]
fn invalid_releases_are_rejected() {
    for text in [
        "",
        "v5.10.1",
        "05.1.2",
        "6.1; rm -rf /",
        "6.1\n",
        "../6.1",
        "6.1'",
        &"1".repeat(256),
    ] {
        assert!(text.parse::<KernelRelease>().is_err(), "{text:?}");
    }
}

#[test]
fn versions_start_with_a_digit() {
    for text in [
        "1",
        "63",
        "24~20.04.3",
        "1_1.26.0",
        "11+cvm1",
        "7.0",
        "1_1.12.0-aws",
        "1-1",
    ] {
        assert_eq!(text.parse::<KernelVersion>().expect(text).as_str(), text);
    }
    for text in ["_64", "-rf", ".", "..", "~root", "", "v1", "#", "# SMP"] {
        let error = text.parse::<KernelVersion>().unwrap_err();
        assert!(!error.to_string().contains("use `"), "{error}");
    }
}

#[test]
fn output_of_uname_as_version_is_rejected_with_the_version_to_write() {
    for text in [
        "#63-Ubuntu SMP Tue May 5 12:00:00 UTC 2026",
        "63-Ubuntu",
        "#63",
        "#63 SMP PREEMPT_DYNAMIC",
        "63 SMP",
    ] {
        let error = text.parse::<KernelVersion>().unwrap_err().to_string();
        assert!(
            error.ends_with("the number after `#` in `uname -v`: use `63`"),
            "{error}"
        );
    }
    let error = "#24~20.04.3-Ubuntu SMP"
        .parse::<KernelVersion>()
        .unwrap_err();
    assert!(error.to_string().ends_with("use `24~20.04.3`"), "{error}");
}

#[test]
fn releases_sort_by_version() {
    let mut releases = [
        "6.12.43+deb13-amd64",
        "6.1.0-9-amd64",
        "6.1.0-56-amd64",
        "6.1.0-56-cloud-amd64",
        "5.10.0-46-amd64",
        "6.0.0-1",
        "6.0~rc7-1",
    ]
    .map(release);
    releases.sort();
    assert_eq!(
        releases.map(|release| release.to_string()),
        [
            "5.10.0-46-amd64",
            "6.0~rc7-1",
            "6.0.0-1",
            "6.1.0-9-amd64",
            "6.1.0-56-amd64",
            "6.1.0-56-cloud-amd64",
            "6.12.43+deb13-amd64",
        ]
    );
}

#[test]
fn architectures_have_two_spellings() {
    assert_eq!("x86_64".parse(), Ok(Architecture::Amd64));
    assert_eq!("arm64".parse(), Ok(Architecture::Arm64));
    assert!("s390x".parse::<Architecture>().is_err());
}

proptest! {
    #[test]
    fn text_and_serde_agree(text in "[0-9]{1,2}(\\.[0-9]{1,3}){0,2}[-.+~][a-z0-9.+~-]{0,20}") {
        if let Ok(parsed) = text.parse::<KernelRelease>() {
            prop_assert_eq!(parsed.as_str(), &text);
            let json = serde_json::to_string(&parsed).expect("serialisable");
            prop_assert_eq!(serde_json::from_str::<KernelRelease>(&json).expect("readable"), parsed);
        }
    }

    #[test]
    fn order_is_total(a in "[0-9][0-9a~.-]{0,6}", b in "[0-9][0-9a~.-]{0,6}", c in "[0-9][0-9a~.-]{0,6}") {
        prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
        prop_assert_eq!(compare_versions(&a, &b) == Ordering::Equal, a == b);
        if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
            prop_assert!(compare_versions(&a, &c).is_le(), "{} {} {}", a, b, c);
        }
    }
}

/// Every pair, so that texts with a common start and texts without one are compared.
#[test]
fn versions_are_compared_by_numbers_and_bytes() {
    let sorted = [
        "1.2~rc1", "1.2", "1.2+a", "1.2-1", "1.2-9", "1.2-10", "1.2-10.1", "1.2.1", "1.09", "1.9",
        "1.10", "10.1",
    ];
    for (position, left) in sorted.iter().enumerate() {
        for (other, right) in sorted.iter().enumerate() {
            let expected = position.cmp(&other);
            assert_eq!(compare_versions(left, right), expected, "{left} {right}");
        }
    }
}
