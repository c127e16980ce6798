use super::*;

const FIRST_LINE: &[u8] = b"{\"schema\":2,\"run_id\":\"night\"}\n";

fn frames() -> [Frame; 2] {
    [("5.4.1", "5.4.2"), ("5.4.3", "5.4.1")].map(|(first, second)| Frame {
        lines: format!("row {first}\nrow {second}\n").into_bytes(),
        index: format!("[{first:?}]\n[{second:?}]\n").into_bytes(),
    })
}

/// Returns a file with these frames, and with the index compressed as these texts.
fn file_with(frames: &[Frame], index: &[Vec<u8>]) -> Vec<u8> {
    let frames = frames.iter().map(|frame| compress(&frame.lines).unwrap());
    let index: Vec<u8> = index
        .iter()
        .flat_map(|text| compress(text).unwrap())
        .collect();
    [
        compress(FIRST_LINE).unwrap(),
        frames.flatten().collect(),
        INDEX_MAGIC.to_vec(),
        u32::try_from(index.len()).unwrap().to_le_bytes().to_vec(),
        index,
    ]
    .concat()
}

fn find(file: &[u8], texts: &[&str]) -> Result<Vec<(String, usize)>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("builds.jsonl.zst");
    fs::write(&path, file).unwrap();
    let read = |line: &[u8], number| Ok((String::from_utf8_lossy(line).into_owned(), number));
    let rows = RowsFile::open(&path, "night");
    rows.and_then(|rows| rows.find(texts, read))
        .map_err(|error| error.to_string())
}

fn row(release: &str, number: usize) -> (String, usize) {
    (format!("row {release}"), number)
}

#[test]
fn rows_are_found_by_their_lines_in_the_index() {
    let mut file = Vec::new();
    let mut writer = FrameWriter::new(&mut file, FIRST_LINE).unwrap();
    writer.add(frames().map(Frame::compressed).into()).unwrap();
    writer.finish().unwrap();
    let found = |texts: &[&str]| find(&file, texts).unwrap();
    assert_eq!(found(&["5.4.1"]), [row("5.4.1", 2), row("5.4.1", 5)]);
    assert_eq!(found(&["5.4.3", "4.2"]), [row("5.4.2", 3), row("5.4.3", 4)]);
    assert_eq!(found(&["row"]), []);
    assert_eq!(found(&[""]).len(), 4);
}

#[test]
fn an_index_that_is_one_zstd_frame_is_read() {
    let frames = frames();
    let index = frames
        .each_ref()
        .map(|frame| [&frame.index[..], b"\n"].concat());
    let file = file_with(&frames, &[index.concat()]);
    assert_eq!(find(&file, &["5.4.3"]), Ok(vec![row("5.4.3", 4)]));
    // What a manifest without rows has.
    let file = file_with(&[], &[Vec::new()]);
    assert_eq!(find(&file, &["5.4.3"]), Ok(Vec::new()));
    let mut without_rows = Vec::new();
    let writer = FrameWriter::new(&mut without_rows, FIRST_LINE).unwrap();
    writer.finish().unwrap();
    assert_eq!(without_rows, file);
}

#[test]
fn an_index_that_does_not_fit_its_rows_is_damaged() {
    let mut frames = frames();
    let index = frames
        .each_ref()
        .map(|frame| [&frame.index[..], b"\n"].concat());
    let is_damaged = |file: &[u8]| find(file, &["5.4.1"]).unwrap_err().contains("damaged");
    assert!(is_damaged(&file_with(&frames, &index[..1])));
    frames[1].lines = b"row 5.4.3\n".to_vec();
    assert!(is_damaged(&file_with(&frames, &index)));
}
