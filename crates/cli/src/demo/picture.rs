//! The example application's photographs: a sea under a sky, with grain, as 24-bit bitmaps. Every
//! number has its own, and the same number always the same.

/// Pixels from left to right.
pub const WIDTH: u32 = 420;
/// Pixels from top to bottom.
pub const HEIGHT: u32 = 280;

/// A bitmap of `width` × `height` pixels; `width` must be a multiple of four.
pub fn bitmap(seed: u64, width: u32, height: u32) -> Vec<u8> {
    let pixels = width * height * 3;
    let mut out = Vec::with_capacity(54 + pixels as usize);
    out.extend_from_slice(b"BM");
    for word in [54 + pixels, 0, 54, 40, width, height, 1 | (24 << 16), 0, pixels, 2835, 2835, 0, 0]
    {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let mut grain = Grain(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let hue = (seed * 37 % 60) as i32;
    let horizon = (height / 2 + (seed * 13 % 40) as u32) as i32;
    for row in 0..height as i32 {
        for column in 0..width as i32 {
            let noise = (grain.next() >> 59) as i32 - 16;
            let swell = ((column + row * 3 + hue * 5) % 48 - 24).abs() / 3;
            let (blue, green, red) = if row < horizon {
                (120 + swell + row / 4, 80 + swell + hue / 2, 20 + hue / 2)
            } else {
                (210 - (row - horizon) / 3, 170 - (row - horizon) / 4, 150 + hue)
            };
            for value in [blue, green, red] {
                out.push((value + noise).clamp(0, 255) as u8);
            }
        }
    }
    out
}

/// A xorshift generator: grain must repeat, not surprise.
struct Grain(u64);

impl Grain {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
