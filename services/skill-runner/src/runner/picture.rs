//! Images of a run, and where their pixels lie in the images of the task. Pure.

use maestro_core::{Digest, expert_call::ExpertReply};

use super::images::PixelBox;

/// An image of the task, or one made out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) digest: Digest,
    pub(crate) origin: Origin,
}

/// Where an image lies in the one of the task that it was made out of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Origin {
    /// The task's image.
    of: Digest,
    /// Its top left corner in pixels of the task's image.
    corner: [f64; 2],
    /// Its pixels per pixel of the task's image, across and down.
    scale: [f64; 2],
}

impl Origin {
    /// That of an image of the task itself.
    pub(crate) fn whole(image: Digest) -> Self {
        Self {
            of: image,
            corner: [0.0; 2],
            scale: [1.0; 2],
        }
    }

    /// Whether both are of the same image of the task.
    pub(crate) fn shares_image(&self, other: &Self) -> bool {
        self.of == other.of
    }

    /// That of `part` of an image of this origin, shown as `size` pixels.
    pub(crate) fn of_part(self, part: &PixelBox, size: [u32; 2]) -> Self {
        let [left, top] = self.place([f64::from(part.left), f64::from(part.top)]);
        let shown = [
            f64::from(size[0]) / f64::from(part.width),
            f64::from(size[1]) / f64::from(part.height),
        ];
        Self {
            of: self.of,
            corner: [left, top],
            scale: [self.scale[0] * shown[0], self.scale[1] * shown[1]],
        }
    }

    /// Where a point of the image lies in that of the task.
    pub(crate) fn place(&self, point: [f64; 2]) -> [f64; 2] {
        [
            self.corner[0] + point[0] / self.scale[0],
            self.corner[1] + point[1] / self.scale[1],
        ]
    }

    /// Moves what was found in the image to the task's image.
    pub(crate) fn place_reply(&self, reply: &mut ExpertReply) {
        let place = |point: [f32; 2]| self.place(point.map(f64::from)).map(|at| at as f32);
        for region in &mut reply.regions {
            region.quad = region.quad.map(place);
        }
        for found in &mut reply.detections {
            let [left, top, right, bottom] = found.bounds;
            let ([left, top], [right, bottom]) = (place([left, top]), place([right, bottom]));
            found.bounds = [left, top, right, bottom];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_part_of_a_part_lies_where_it_was_cut(
            left in 0u32..500, top in 0u32..500, width in 1u32..500, height in 1u32..500,
            zoom in 1u32..5, inner in 0u32..50, x in 0.0..1.0f64, y in 0.0..1.0f64,
        ) {
            let outer = PixelBox { left, top, width, height };
            let shown = [width * zoom, height * zoom];
            let first = Origin::whole(Digest::of(b"image")).of_part(&outer, shown);
            let part = PixelBox { left: inner, top: inner, width: 10, height: 20 };
            let second = first.of_part(&part, [5, 40]);
            let [px, py] = second.place([5.0 * x, 40.0 * y]);
            let z = f64::from(zoom);
            let expected = [
                f64::from(left) + (f64::from(inner) + 10.0 * x) / z,
                f64::from(top) + (f64::from(inner) + 20.0 * y) / z,
            ];
            prop_assert!((px - expected[0]).abs() < 1e-6 && (py - expected[1]).abs() < 1e-6);
        }
    }
}
