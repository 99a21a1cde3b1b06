// What both convolutions share: where their outputs go.
//
// Inputs are bordered, `(frames, height + 2, width + 2, channels)`, zero on the border; kernels are 3 x 3 x 3. Time
// has no border: frames beyond the clip are its first and last.
#pragma once

#include "common.cuh"

// What becomes of the outputs of a pixel.
enum Mode {
    // `(frames, height, width, outputs)`, overwritten.
    REPLACE = 0,
    // The same, added to what is there.
    ADD = 1,
    // Spread over time and space: `(2 frames - 1, 2 height, 2 width, outputs / 8)`. Output `j` goes to channel
    // `j % (outputs / 8)` of place `j / (outputs / 8)`, of which 4 is the later frame, 2 the lower row and 1 the right
    // column. The first frame is dropped.
    SPREAD = 2,
    // The same, plus the input spread so: it has an eighth of its channels at each place, the place running fastest,
    // repeated until there are enough.
    SPREAD_RESIDUAL = 3,
    // Pixels of three f32: `(frames * patch_time, height * patch, width * patch, 3)`. Outputs run over (time, row,
    // column, colour) of the patch.
    FRAMES = 4,
};

struct Clip {
    int frames, height, width, channels;

    __device__ __forceinline__ int line() const { return width + 2; }
    // Pixels of a bordered frame.
    __device__ __forceinline__ int plane() const { return (height + 2) * line(); }
    // The frame that tap `tap` in time sees, of which `before` lie before the output.
    __device__ __forceinline__ int seen(int frame, int tap, int before) const {
        return min(max(frame + tap - before, 0), frames - 1);
    }
};

// Where a frame's outputs go: element `of_pixel(y, x) + of_output(j)` of `out`, for all outputs from `first()`.
struct Leave {
    Clip clip;
    int frame, outputs, mode, patch_time, patch;

    // Outputs up to this one belong to the frame that spreading drops.
    __device__ __forceinline__ int first() const {
        return (mode == SPREAD || mode == SPREAD_RESIDUAL) && frame == 0 ? outputs / 2 : 0;
    }

    __device__ __forceinline__ long long of_pixel(int y, int x) const {
        const long long height = clip.height, width = clip.width;
        if (mode == FRAMES) return 3 * patch * ((frame * (long long)patch_time * height * patch + y * (long long)patch) * width + x);
        if (mode <= ADD) return ((frame * height + y) * width + x) * outputs;
        return (((2 * frame - 1) * 2 * height + 2 * y) * 2 * width + 2 * x) * (outputs / 8);
    }

    __device__ __forceinline__ long long of_output(int j) const {
        const long long height = clip.height, width = clip.width;
        if (mode == FRAMES) {
            const int run = 3 * patch, line = j / run;
            return (line / patch * height * patch + line % patch) * width * run + j % run;
        }
        if (mode <= ADD) return j;
        const int channels = outputs / 8, place = j / channels;
        return ((place / 4 * 2 * height + place / 2 % 2) * 2 * width + place % 2) * channels + j % channels;
    }

    // The input's channel that a residual adds to output `j`.
    __device__ __forceinline__ int residual(int j) const {
        const int channels = outputs / 8;
        return j % channels % (clip.channels / 8) * 8 + j / channels;
    }
};
