// 3-D convolution with stride 1, channels last, bf16 on tensor cores with sums in f32, without an im2col buffer.
//
// A block makes outputs for consecutive pixels of one bordered frame, the two border columns at the end of each line
// among them: theirs are thrown away. So every tap of every pixel lies at one offset, and the three taps of a line
// are the same rows of shared memory, read one and two rows further down.
//
// A step is 32 channels of three taps. Rows in shared memory are 64 bytes, their 16-byte pieces exchanged so that
// eight rows at one piece touch all banks.
#include "conv3d.cuh"

constexpr int STEP = 32, PIECES = STEP / 8, ROW = 2 * STEP;
// Pixels and outputs of a warp, in mma tiles of 16 and 8.
constexpr int SIDE = 64, DOWN = SIDE / 16, ACROSS = SIDE / 8;

// Where a 16-byte piece of a row lies.
__device__ __forceinline__ int at(int row, int piece) { return row * ROW + (piece ^ (row >> 1 & 3)) * 16; }

// WARPS_PIXELS x WARPS_OUTPUTS warps.
template <int WARPS_PIXELS, int WARPS_OUTPUTS, int STAGES>
struct Tile {
    static constexpr int PIXELS = SIDE * WARPS_PIXELS, OUTPUTS = SIDE * WARPS_OUTPUTS;
    static constexpr int THREADS = 32 * WARPS_PIXELS * WARPS_OUTPUTS;
    // Rows that all threads fetch at once.
    static constexpr int ROWS = THREADS / PIECES;
    static constexpr int PIXEL_BYTES = (PIXELS + 2) * ROW, TAP_BYTES = OUTPUTS * ROW;
    static constexpr int STAGE_BYTES = PIXEL_BYTES + 3 * TAP_BYTES;
    static_assert(PIXELS % ROWS == 0 && OUTPUTS % ROWS == 0 && ROWS % 8 == 0, "whole passes of one exchange");

    // What is fetched next, and whence.
    struct Fetch {
        const Bf16 *x, *weight;
        Clip clip;
        int outputs, before, frame, pixel0, output0;
        int taps, channel;  // of 9 lines of taps; first of the step

        __device__ __forceinline__ void step(SharedAddress stage) {
            const int row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
            const int c = channel + 8 * piece;
            const bool present = c < clip.channels;
            const Bf16* frame_seen = x + (long long)clip.seen(frame, taps / 3, before) * clip.plane() * clip.channels;
            const int pixel = pixel0 + taps % 3 * clip.line() + row, last = clip.plane() - 1;
            SharedAddress to = stage + at(row, piece);
#pragma unroll
            for (int i = 0; i <= PIXELS / ROWS; i++) {
                if (i == PIXELS / ROWS && row >= 2) break;
                // Rows past the frame are of no pixel.
                const long long from = (long long)min(pixel + i * ROWS, last) * clip.channels + c;
                copy_async_16(to + i * ROWS * ROW, present ? frame_seen + from : x, present);
            }
            to += PIXEL_BYTES;
            const int k = 27 * clip.channels;
            const Bf16* tap0 = weight + (long long)(output0 + row) * k + 3 * taps * clip.channels + c;
#pragma unroll
            for (int i = 0; i < OUTPUTS / ROWS; i++) {
                const bool wanted = present && output0 + row + i * ROWS < outputs;
                const Bf16* from = wanted ? tap0 + (long long)(i * ROWS) * k : weight;
                const int next = wanted ? clip.channels : 0;
#pragma unroll
                for (int tap = 0; tap < 3; tap++)
                    copy_async_16(to + tap * TAP_BYTES + i * ROWS * ROW, from + tap * next, wanted);
            }
            channel += STEP;
            if (channel >= clip.channels) channel = 0, taps++;
        }
    };

    struct Fragments {
        unsigned int a[DOWN][4], b[ACROSS / 2][4];

        // `part` of a step's six: a tap and half of its channels.
        __device__ __forceinline__ void load(SharedAddress stage, int part, int pixels, int outputs) {
            const int lane = threadIdx.x % 32, tap = part / 2, piece = part % 2 * 2;
            const SharedAddress rows = stage + at(pixels + lane % 16 + tap, piece + lane / 16);
#pragma unroll
            for (int i = 0; i < DOWN; i++) ldmatrix_x4(a[i], rows + i * 16 * ROW);
            const SharedAddress columns = stage + PIXEL_BYTES + tap * TAP_BYTES +
                                          at(outputs + lane % 8 + lane / 16 * 8, piece + lane / 8 % 2);
#pragma unroll
            for (int i = 0; i < ACROSS / 2; i++) ldmatrix_x4(b[i], columns + i * 16 * ROW);
        }
    };

    static __device__ __forceinline__ void convolve(
        const Bf16* x, const Bf16* weight, const float* bias, void* out,
        Clip clip, int outputs, int before, int mode, int patch_time, int patch
    ) {
        DYNAMIC_SHARED(shared);
        const SharedAddress stages = shared_address(shared);
        const int pixels = clip.height * clip.line() - 2;
        const int columns = (outputs + OUTPUTS - 1) / OUTPUTS, tiles = (pixels + PIXELS - 1) / PIXELS;
        // Blocks that read the same pixels run side by side.
        const int column = blockIdx.x % columns, tile = blockIdx.x / columns % tiles;
        const int frame = blockIdx.x / columns / tiles;
        const int pixel0 = tile * PIXELS, output0 = column * OUTPUTS;
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int warp_pixel = warp / WARPS_OUTPUTS * SIDE, warp_output = warp % WARPS_OUTPUTS * SIDE;

        Fetch fetch = {x, weight, clip, outputs, before, frame, pixel0, output0, 0, 0};
        const int steps = 9 * ((clip.channels + STEP - 1) / STEP);
        for (int i = 0; i < STAGES - 1; i++) {
            if (i < steps) fetch.step(stages + i * STAGE_BYTES);
            copy_async_commit();
        }
        float sums[DOWN][ACROSS][4];
#pragma unroll
        for (int i = 0; i < DOWN; i++)
#pragma unroll
            for (int j = 0; j < ACROSS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[i][j][e] = 0.0f;

        int stage = 0, filled = STAGES - 1;
        for (int step = 0; step < steps; step++) {
            copy_async_wait<STAGES - 2>();
            // Everyone's copies are there, and nobody reads the stage that is filled next any more.
            __syncthreads();
            if (step + STAGES - 1 < steps) fetch.step(stages + filled * STAGE_BYTES);
            copy_async_commit();
            const SharedAddress from = stages + stage * STAGE_BYTES;
            Fragments fragments[2];
            fragments[0].load(from, 0, warp_pixel, warp_output);
#pragma unroll
            for (int part = 0; part < 6; part++) {
                if (part < 5) fragments[(part + 1) % 2].load(from, part + 1, warp_pixel, warp_output);
                const Fragments& f = fragments[part % 2];
#pragma unroll
                for (int i = 0; i < DOWN; i++)
#pragma unroll
                    for (int j = 0; j < ACROSS; j++)
                        mma_bf16(sums[i][j], f.a[i], f.b[j / 2][j % 2 * 2], f.b[j / 2][j % 2 * 2 + 1]);
            }
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            filled = filled + 1 == STAGES ? 0 : filled + 1;
        }

        const Leave leave = {clip, frame, outputs, mode, patch_time, patch};
        const int first = leave.first();
        long long to[2 * DOWN];
        int centre[2 * DOWN];
#pragma unroll
        for (int i = 0; i < 2 * DOWN; i++) {
            const int pixel = pixel0 + warp_pixel + i * 8 + lane / 4;
            const int y = pixel / clip.line(), x = pixel % clip.line();
            const bool inside = pixel < pixels && x < clip.width;
            to[i] = leave.of_pixel(y, x);
            centre[i] = inside ? pixel + clip.line() + 1 : -1;
        }
#pragma unroll
        for (int j = 0; j < ACROSS; j++) {
            const int output = output0 + warp_output + j * 8 + lane % 4 * 2;
            if (output < first || output >= outputs) continue;
            const float bias0 = bias ? bias[output] : 0.0f, bias1 = bias ? bias[output + 1] : 0.0f;
            const long long of_output = leave.of_output(output);
            const int residual = mode == SPREAD_RESIDUAL ? leave.residual(output) : 0;
            const int residual1 = mode == SPREAD_RESIDUAL ? leave.residual(output + 1) : 0;
#pragma unroll
            for (int i = 0; i < 2 * DOWN; i++) {
                if (centre[i] < 0) continue;
                float low = sums[i / 2][j][i % 2 * 2] + bias0, high = sums[i / 2][j][i % 2 * 2 + 1] + bias1;
                const long long element = to[i] + of_output;
                if (mode == FRAMES) {
                    *(float2*)((float*)out + element) = make_float2(low, high);
                    continue;
                }
                unsigned int* pair = (unsigned int*)((Bf16*)out + element);
                if (mode == ADD) {
                    const unsigned int old = *pair;
                    low += pair_low(old), high += pair_high(old);
                } else if (mode == SPREAD_RESIDUAL) {
                    const Bf16* old = x + ((long long)frame * clip.plane() + centre[i]) * clip.channels;
                    low += to_f32(old[residual]), high += to_f32(old[residual1]);
                }
                *pair = bf16_pair(low, high);
            }
        }
    }
};

// `x` bordered, `weight` `(outputs, 3, 3, 3, channels)`, `bias` `(outputs)` f32 or null; `before` is how many of the
// three taps lie in the past: 2 is causal, 1 centred. `patch_time` and `patch` are for FRAMES only.
//
// Channels are a multiple of 8. Outputs are even, and so is what of them stays together: an eighth of them for SPREAD,
// `3 * patch` for FRAMES. A bordered frame has fewer than 2^31 elements. One block for each frame, `PIXELS` of
// `height * (width + 2) - 2` and `OUTPUTS` of the outputs: grid (frames * tiles * columns).
#define CONV3D(name, pixels, outputs_, stages, blocks)                                                                 \
    extern "C" __global__ void __launch_bounds__(32 * pixels * outputs_, blocks) name(                                 \
        const Bf16* x, const Bf16* weight, const float* bias, void* out,                                               \
        int frames, int height, int width, int channels, int outputs, int before, int mode, int patch_time, int patch  \
    ) {                                                                                                                \
        const Clip clip = {frames, height, width, channels};                                                           \
        Tile<pixels, outputs_, stages>::convolve(x, weight, bias, out, clip, outputs, before, mode, patch_time, patch); \
    }

// 128 pixels, 128 outputs: 128 threads, 65792 bytes of shared memory.
CONV3D(conv3d_bf16, 2, 2, 2, 2)
// 256 pixels, 128 outputs: 256 threads, 82176 bytes of shared memory. For architectures that have room for one block only.
CONV3D(conv3d_tall_bf16, 4, 2, 2, 1)
// 256 pixels, 64 outputs: 128 threads, 57600 bytes of shared memory.
CONV3D(conv3d_narrow_bf16, 4, 1, 2, 2)
