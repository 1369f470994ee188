//! Bytes that look like files to those who look at their beginning: real headers, no picture or sound behind them.

use bytes::Bytes;

/// A JPEG of these pixels; another `seed` gives other bytes.
pub fn jpeg(width: u16, height: u16, seed: u64) -> Bytes {
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 16];
    file.extend_from_slice(b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    file.extend_from_slice(&[0xFF, 0xC0, 0, 17, 8]);
    file.extend_from_slice(&height.to_be_bytes());
    file.extend_from_slice(&width.to_be_bytes());
    file.extend_from_slice(&[3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    file.extend_from_slice(&[0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 0x3F, 0]);
    file.extend(noise(seed, 900).map(|byte| byte & 0x7F));
    file.extend_from_slice(&[0xFF, 0xD9]);
    file.into()
}

/// A PNG of these pixels.
pub fn png(width: u32, height: u32, seed: u64) -> Bytes {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    file.extend_from_slice(&width.to_be_bytes());
    file.extend_from_slice(&height.to_be_bytes());
    file.extend_from_slice(&[8, 2, 0, 0, 0]);
    file.extend(noise(seed, 500));
    file.into()
}

/// A still sticker of 512 by 512 pixels.
pub fn webp(seed: u64) -> Bytes {
    let body: Vec<u8> = noise(seed, 600).collect();
    let mut file = b"RIFF".to_vec();
    file.extend_from_slice(&(22 + 600_u32).to_le_bytes());
    file.extend_from_slice(b"WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x01\0\xff\x01\0");
    file.extend(body);
    file.into()
}

/// An MPEG-4 of this many bytes.
pub fn mp4(length: usize, seed: u64) -> Bytes {
    filled(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", length, seed)
}

/// An MP3 of this many bytes.
pub fn mp3(length: usize, seed: u64) -> Bytes {
    filled(b"ID3\x03\0\0\0\0\0\0\xff\xfb\x90\x64", length, seed)
}

/// An OGG with OPUS of this many bytes.
pub fn ogg(length: usize, seed: u64) -> Bytes {
    let header = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x01";
    filled(header, length, seed)
}

/// A PDF of this many bytes.
pub fn pdf(length: usize, seed: u64) -> Bytes {
    filled(b"%PDF-1.7\n", length, seed)
}

fn filled(header: &[u8], length: usize, seed: u64) -> Bytes {
    let mut file = header.to_vec();
    file.extend(noise(seed, length.saturating_sub(header.len())));
    file.into()
}

/// Reproducible, not random: a multiplicative generator.
fn noise(seed: u64, length: usize) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_their_size_and_seeds_make_a_difference() {
        for (file, size) in [
            (jpeg(1280, 960, 1), (1280, 960)),
            (png(40, 30, 1), (40, 30)),
            (webp(1), (512, 512)),
        ] {
            let found = imagesize::blob_size(&file).expect("it looks like an image");
            assert_eq!((found.width, found.height), size);
        }
        assert_ne!(jpeg(1, 1, 1), jpeg(1, 1, 2));
        assert_eq!(mp4(5000, 3), mp4(5000, 3));
        assert_eq!((mp4(5000, 3).len(), ogg(99, 1).len()), (5000, 99));
    }
}
