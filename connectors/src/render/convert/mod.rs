//! Text with entities in the spelling of providers that know no entities. Entities may nest and overlap in any way: what
//! is written is always well formed.

mod html;
mod markdown_v2;
mod runs;
#[cfg(test)]
mod tests;
mod whatsapp;

pub use html::to_html;
pub use markdown_v2::to_markdown_v2;
pub use whatsapp::to_whatsapp;

use runs::{Layer, Run};

/// How a provider spells formatting.
trait Dialect {
    fn open(&self, layer: &Layer<'_>, written: &mut String);
    fn close(&self, layer: &Layer<'_>, written: &mut String);
    /// Words inside of `layers`, escaped.
    fn words(&self, words: &str, layers: &[Layer<'_>], written: &mut String);
}

/// Writes runs: what is opened last is closed first.
fn write(runs: &[Run<'_>], dialect: &impl Dialect) -> String {
    let mut written = String::new();
    let mut open: Vec<Layer<'_>> = Vec::new();
    for run in runs {
        let pairs = open.iter().zip(&run.layers);
        let shared = pairs.take_while(|(open, wanted)| open == wanted).count();
        for layer in open.drain(shared..).rev() {
            dialect.close(&layer, &mut written);
        }
        for layer in &run.layers[shared..] {
            dialect.open(layer, &mut written);
            open.push(layer.clone());
        }
        dialect.words(run.words, &open, &mut written);
    }
    for layer in open.iter().rev() {
        dialect.close(layer, &mut written);
    }
    written
}

/// Whether code is inside, where nothing else is read as formatting.
fn in_code(layers: &[Layer<'_>]) -> bool {
    layers
        .iter()
        .any(|layer| matches!(layer, Layer::Code | Layer::Pre { .. }))
}
