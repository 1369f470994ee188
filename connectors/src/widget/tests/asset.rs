//! The script itself, as far as that can be told without a browser.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use crate::{Factory, widget::WidgetFactory};

fn script() -> &'static str {
    let asset = WidgetFactory::assets()
        .iter()
        .find(|asset| asset.path == "/widget.js");
    asset.expect("the script is served").body
}

#[test]
fn it_is_small() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(script().as_bytes())
        .expect("memory is there");
    let size = encoder.finish().expect("memory is there").len();
    assert!(size < 18_000, "{size} bytes gzipped");
}

#[test]
fn it_turns_no_text_into_anything_else() {
    for dangerous in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "setHTML",
        "srcdoc",
        "insertAdjacentText(",
        "eval(",
        "new Function",
        "import(",
    ] {
        assert!(!script().contains(dangerous), "{dangerous}");
    }
}
