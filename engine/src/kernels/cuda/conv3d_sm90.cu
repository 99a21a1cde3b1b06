// 3-D convolution with stride 1, channels last, on Hopper: bf16 with sums in f32, without an im2col buffer.
//
// A block makes outputs for a box of pixels of one frame, one box after another. One warp only copies; two consumer
// groups multiply, each its half of the box's pixels with a tile of outputs. A slice of 64 channels of a box, two lines
// higher than the box, holds what all three taps of a column see: each line further is a whole number of units of
// eight rows further, as long as a line of the box is one. So pixels are copied once for three taps.
//
// Pixels beside the bordered frame, and outputs that there are not, arrive as zeros and are not written.
#include "conv3d.cuh"
#include "hopper.cuh"

// What a kernel is asked for. A line of the box is `1 << line_bits` pixels.
struct ConvShape {
    Clip clip;
    int outputs, before, mode, patch_time, patch, line_bits;

    __device__ __forceinline__ int slices() const { return (clip.channels + 63) / 64; }
};

// How a variant cuts the work, and where its tiles and barriers lie in shared memory (bytes from a multiple of 1024).
//
// DOWN: units of 64 pixels of each group. OUTPUTS: of a tile. BOXES, TAPS: slices of a box and tiles of weights in
// flight. FRAMES: whether it writes frames of f32, and nothing else.
template <int DOWN_, int OUTPUTS_, int BOXES_, int TAPS_, bool FRAMES_>
struct ConvPlan {
    static constexpr int DOWN = DOWN_, OUTPUTS = OUTPUTS_, BOXES = BOXES_, TAPS = TAPS_;
    static constexpr bool FRAMES = FRAMES_;

    static constexpr int GROUPS = 2, THREADS = (GROUPS + 1) * GROUP_THREADS;
    static constexpr int CONSUMER_REGISTERS = 240, PRODUCER_REGISTERS = 24;
    static constexpr int GROUP_PIXELS = 64 * DOWN, PIXELS = GROUPS * GROUP_PIXELS;
    // Lines are at most 16 pixels.
    static constexpr int BOX = (PIXELS + 2 * 16) * 128, TAP = OUTPUTS * 128;

    static constexpr int BOX_TILES = 0, TAP_TILES = BOX_TILES + BOXES * BOX, BARRIERS = TAP_TILES + TAPS * TAP;
    static constexpr int BOX_FULL = BARRIERS, BOX_EMPTY = BOX_FULL + 8 * BOXES;
    static constexpr int TAP_FULL = BOX_EMPTY + 8 * BOXES, TAP_EMPTY = TAP_FULL + 8 * TAPS;
    static constexpr int END = TAP_EMPTY + 8 * TAPS;

    // With room to round the start up.
    static constexpr int SHARED_BYTES = END + 1024;

    static_assert(BOX % 1024 == 0 && TAP % 1024 == 0, "swizzled tiles start at multiples of 1024 bytes");
    static_assert(SHARED_BYTES <= 232448, "what a block can have");
};

// A box of pixels and the first of its outputs. Blocks at work at one time have few boxes times few tiles of outputs,
// so that they share both in the cache.
struct ConvTile {
    int frame, y, x, output;

    static constexpr int BAND = 16;

    template <class Plan>
    struct Counts {
        int across, boxes, columns, height;

        __device__ __forceinline__ explicit Counts(const ConvShape& shape) {
            const int width = 1 << shape.line_bits;
            height = Plan::PIXELS >> shape.line_bits;
            across = (shape.clip.width + width - 1) / width;
            boxes = (shape.clip.height + height - 1) / height * across * shape.clip.frames;
            columns = (shape.outputs + Plan::OUTPUTS - 1) / Plan::OUTPUTS;
        }
        __device__ __forceinline__ int tiles() const { return boxes * columns; }
    };

    template <class Plan>
    static __device__ __forceinline__ ConvTile at(int tile, const Counts<Plan>& counts, const ConvShape& shape) {
        const int band = tile / (BAND * counts.columns), rest = tile % (BAND * counts.columns);
        const int high = min(BAND, counts.boxes - band * BAND);
        const int box = band * BAND + rest % high, per_frame = counts.boxes / shape.clip.frames;
        const int of_frame = box % per_frame;
        return {box / per_frame, of_frame / counts.across * counts.height, of_frame % counts.across << shape.line_bits,
                rest / high * Plan::OUTPUTS};
    }
};

template <class Plan>
__device__ __forceinline__ void conv_copy(const TensorMap* x, const TensorMap* weight, const ConvShape& shape, u32 shared) {
    const ConvTile::Counts<Plan> counts(shape);
    const u32 box_bytes = (Plan::PIXELS + (2 << shape.line_bits)) * 128;
    Ring<Plan::BOXES> boxes;
    Ring<Plan::TAPS> taps;
    for (int tile = blockIdx.x; tile < counts.tiles(); tile += gridDim.x) {
        const ConvTile at = ConvTile::at<Plan>(tile, counts, shape);
        // Taps in time and across.
        for (int tap = 0; tap < 9; tap++) {
            const int time = tap / 3, across = tap % 3, seen = shape.clip.seen(at.frame, time, shape.before);
            for (int slice = 0; slice < shape.slices(); slice++) {
                const u32 box_full = shared + Plan::BOX_FULL + 8 * boxes.slot;
                barrier_wait(shared + Plan::BOX_EMPTY + 8 * boxes.slot, boxes.parity ^ 1);
                barrier_arrive_expecting(box_full, box_bytes);
                copy_box(shared + Plan::BOX_TILES + boxes.slot * Plan::BOX, x, box_full, slice * 64, at.x + across, at.y, seen);
                boxes.step();
#pragma unroll
                for (int down = 0; down < 3; down++) {
                    const u32 tap_full = shared + Plan::TAP_FULL + 8 * taps.slot;
                    const int k = ((time * 3 + down) * 3 + across) * shape.clip.channels + slice * 64;
                    barrier_wait(shared + Plan::TAP_EMPTY + 8 * taps.slot, taps.parity ^ 1);
                    barrier_arrive_expecting(tap_full, Plan::TAP);
                    copy_box(shared + Plan::TAP_TILES + taps.slot * Plan::TAP, weight, tap_full, k, at.output, 0, 0);
                    taps.step();
                }
            }
        }
    }
}

// The pixels of this thread's sums, by the eights of rows that its warp holds: where their outputs go, and where they lie
// themselves in the bordered input, in elements.
template <class Plan>
struct ConvRows {
    static constexpr int COUNT = 2 * Plan::DOWN;
    // Where a pixel beside the frame goes. The first frame of a spread clip begins before its outputs.
    static constexpr long long NOWHERE = (long long)1 << 62;
    long long to[COUNT], from[COUNT];

    __device__ __forceinline__ bool is_inside(int row) const { return to[row] != NOWHERE; }
    __device__ __forceinline__ ConvRows(const Leave& leave, const ConvTile& at, int line_bits, int group) {
        const int first = group * Plan::GROUP_PIXELS + threadIdx.x % GROUP_THREADS / 32 * 16 + threadIdx.x % 32 / 4;
        const Clip& clip = leave.clip;
#pragma unroll
        for (int row = 0; row < COUNT; row++) {
            const int pixel = first + row / 2 * 64 + row % 2 * 8;
            const int y = at.y + (pixel >> line_bits), x = at.x + (pixel & ((1 << line_bits) - 1));
            const bool inside = y < clip.height && x < clip.width;
            to[row] = inside ? leave.of_pixel(y, x) : NOWHERE;
            from[row] = ((long long)at.frame * clip.plane() + (y + 1) * clip.line() + x + 1) * clip.channels;
        }
    }
};

// What is added to the outputs: nothing, what was there, or the input.
enum Added { NOTHING, OLD, INPUT };

// What a quad of lanes writes of a row at a time: 32 outputs, eight of each lane.
struct ConvRun {
    bool is_wanted;
    long long to;
    int residual;

    __device__ __forceinline__ ConvRun(const Leave& leave, const ConvTile& at, int block) {
        const int output = at.output + block * 32 + threadIdx.x % 4 * 8;
        is_wanted = output >= leave.first() && output < leave.outputs;
        to = leave.of_output(output);
        residual = leave.mode == SPREAD_RESIDUAL ? leave.residual(output) : 0;
    }

    // What is added to the outputs of each row: pairs of this lane's eight.
    template <Added ADDED, class Plan>
    __device__ __forceinline__ void load(u32 (&added)[ConvRows<Plan>::COUNT][4], const Bf16* x, const Bf16* out,
                                         const ConvRows<Plan>& rows) const {
#pragma unroll
        for (int row = 0; row < ConvRows<Plan>::COUNT; row++) {
#pragma unroll
            for (int i = 0; i < 4; i++) added[row][i] = 0;
            if (!is_wanted || !rows.is_inside(row)) continue;
            if constexpr (ADDED == OLD) {
                const uint4 v = *(const uint4*)(out + rows.to[row] + to);
                added[row][0] = v.x, added[row][1] = v.y, added[row][2] = v.z, added[row][3] = v.w;
            } else {
                const Bf16* from = x + rows.from[row] + residual;
#pragma unroll
                for (int i = 0; i < 4; i++) added[row][i] = from[16 * i].bits | (u32)from[16 * i + 8].bits << 16;
            }
        }
    }
};

// `settle` awaits the sums.
template <class Plan, Added ADDED, class Settle>
__device__ __forceinline__ void conv_write(const float (&sums)[Plan::DOWN][Plan::OUTPUTS / 2], const Settle& settle,
                                           const Bf16* x, const float* bias, Bf16* out, const Leave& leave,
                                           const ConvTile& at, const ConvRows<Plan>& rows) {
    constexpr int BLOCKS = Plan::OUTPUTS / 32;
    const int column = threadIdx.x % 4 * 2;
    u32 next[ConvRows<Plan>::COUNT][4];
    if constexpr (ADDED == OLD) ConvRun(leave, at, 0).load<ADDED, Plan>(next, x, out, rows);
    settle();
#pragma unroll
    for (int block = 0; block < BLOCKS; block++) {
        const ConvRun run(leave, at, block);
        u32 added[ConvRows<Plan>::COUNT][4];
        if constexpr (ADDED == INPUT) run.load<ADDED, Plan>(added, x, out, rows);
        if constexpr (ADDED == OLD) {
#pragma unroll
            for (int row = 0; row < ConvRows<Plan>::COUNT; row++)
#pragma unroll
                for (int i = 0; i < 4; i++) added[row][i] = next[row][i];
            // What the next run is added to is on its way while this one is written.
            if (block + 1 < BLOCKS) ConvRun(leave, at, block + 1).load<ADDED, Plan>(next, x, out, rows);
        }
        float2 shift[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int output = at.output + block * 32 + i * 8 + column;
            shift[i] = bias && output < leave.outputs ? make_float2(__ldg(bias + output), __ldg(bias + output + 1))
                                                      : make_float2(0.0f, 0.0f);
        }
#pragma unroll
        for (int row = 0; row < ConvRows<Plan>::COUNT; row++) {
            if constexpr (ADDED != NOTHING) transpose_quad(added[row]);
            u32 pairs[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int sum = (block * 4 + i) * 4 + row % 2 * 2;
                float low = sums[row / 2][sum] + shift[i].x, high = sums[row / 2][sum + 1] + shift[i].y;
                if constexpr (ADDED != NOTHING) low += pair_low(added[row][i]), high += pair_high(added[row][i]);
                pairs[i] = bf16_pair(low, high);
            }
            transpose_quad(pairs);
            if (run.is_wanted && rows.is_inside(row))
                *(uint4*)(out + rows.to[row] + run.to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
    }
}

template <class Plan>
__device__ __forceinline__ void conv_write_frames(const float (&sums)[Plan::DOWN][Plan::OUTPUTS / 2], const float* bias,
                                                  float* out, const Leave& leave, const ConvTile& at,
                                                  const ConvRows<Plan>& rows) {
#pragma unroll
    for (int i = 0; i < Plan::OUTPUTS / 8; i++) {
        const int output = at.output + i * 8 + threadIdx.x % 4 * 2;
        if (output >= leave.outputs) continue;
        const float low = bias ? __ldg(bias + output) : 0.0f, high = bias ? __ldg(bias + output + 1) : 0.0f;
        const long long to = leave.of_output(output);
#pragma unroll
        for (int row = 0; row < ConvRows<Plan>::COUNT; row++) {
            if (!rows.is_inside(row)) continue;
            const int sum = i * 4 + row % 2 * 2;
            *(float2*)(out + rows.to[row] + to) =
                make_float2(sums[row / 2][sum] + low, sums[row / 2][sum + 1] + high);
        }
    }
}

template <class Plan>
__device__ __forceinline__ void conv_consume(const Bf16* x, const float* bias, void* out, const ConvShape& shape,
                                             u32 shared, int group) {
    const ConvTile::Counts<Plan> counts(shape);
    const bool speaks = threadIdx.x % 32 == 0;
    const int steps = 9 * shape.slices();
    const u32 line_bytes = 128 << shape.line_bits;
    Ring<Plan::BOXES> boxes, boxes_done;
    Ring<Plan::TAPS> taps, taps_done;
    float sums[Plan::DOWN][Plan::OUTPUTS / 2];

    auto free_box = [&] {
        if (speaks) barrier_arrive(shared + Plan::BOX_EMPTY + 8 * boxes_done.slot);
        boxes_done.step();
    };
    auto free_tap = [&] {
        if (speaks) barrier_arrive(shared + Plan::TAP_EMPTY + 8 * taps_done.slot);
        taps_done.step();
    };

    for (int tile = blockIdx.x; tile < counts.tiles(); tile += gridDim.x) {
        const ConvTile at = ConvTile::at<Plan>(tile, counts, shape);
        for (int step = 0; step < steps; step++) {
            const u32 box = shared + Plan::BOX_TILES + boxes.slot * Plan::BOX + group * Plan::GROUP_PIXELS * 128;
            barrier_wait(shared + Plan::BOX_FULL + 8 * boxes.slot, boxes.parity);
            boxes.step();
#pragma unroll
            for (int down = 0; down < 3; down++) {
                const u64 pixels = operand(box + down * line_bytes, 0, 1024);
                const u64 outputs = operand(shared + Plan::TAP_TILES + taps.slot * Plan::TAP, 0, 1024);
                barrier_wait(shared + Plan::TAP_FULL + 8 * taps.slot, taps.parity);
                taps.step();
                products_fence();
#pragma unroll
                for (int k = 0; k < 64; k += 16)
#pragma unroll
                    for (int i = 0; i < Plan::DOWN; i++)
                        Product<Plan::OUTPUTS>::from_shared(sums[i], operand_at(pixels, i * 64 * 128 + k * 2),
                                                            operand_at(outputs, k * 2), down > 0 || k > 0 || step > 0);
                products_commit();
                // The tap before this one is done with.
                products_wait<1>();
                if (down > 0 || step > 0) free_tap();
                if (down == 0 && step > 0) free_box();
            }
        }
        auto settle = [&] {
            products_wait<0>();
#pragma unroll
            for (int i = 0; i < Plan::DOWN; i++) hold(sums[i]);
            free_tap();
            free_box();
        };
        const Leave leave = {shape.clip, at.frame, shape.outputs, shape.mode, shape.patch_time, shape.patch};
        const ConvRows<Plan> rows(leave, at, shape.line_bits, group);
        if constexpr (Plan::FRAMES) {
            settle();
            conv_write_frames<Plan>(sums, bias, (float*)out, leave, at, rows);
        } else if (shape.mode == ADD) {
            conv_write<Plan, OLD>(sums, settle, x, bias, (Bf16*)out, leave, at, rows);
        } else if (shape.mode == SPREAD_RESIDUAL) {
            conv_write<Plan, INPUT>(sums, settle, x, bias, (Bf16*)out, leave, at, rows);
        } else {
            conv_write<Plan, NOTHING>(sums, settle, x, bias, (Bf16*)out, leave, at, rows);
        }
    }
}

template <class Plan>
__device__ __forceinline__ void conv(const TensorMap* boxes, const TensorMap* taps, const Bf16* x, const float* bias,
                                     void* out, const ConvShape& shape) {
    DYNAMIC_SHARED(memory);
    const u32 shared = (shared_address(memory) + 1023) & ~1023u;
    const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);

    if (threadIdx.x == 0) {
        tensor_map_prefetch(boxes);
        tensor_map_prefetch(taps);
        // A full barrier awaits the copying thread (and the bytes); an empty one a lane of every warp that reads.
        for (int i = 0; i < Plan::BOXES; i++) {
            barrier_init(shared + Plan::BOX_FULL + 8 * i, 1);
            barrier_init(shared + Plan::BOX_EMPTY + 8 * i, 4 * Plan::GROUPS);
        }
        for (int i = 0; i < Plan::TAPS; i++) {
            barrier_init(shared + Plan::TAP_FULL + 8 * i, 1);
            barrier_init(shared + Plan::TAP_EMPTY + 8 * i, 4 * Plan::GROUPS);
        }
        barrier_init_done();
    }
    __syncthreads();

    if (warp < 4) {
        registers_give<Plan::PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) conv_copy<Plan>(boxes, taps, shape, shared);
    } else {
        registers_take<Plan::CONSUMER_REGISTERS>();
        conv_consume<Plan>(x, bias, out, shape, shared, warp / 4 - 1);
    }
}

// As conv3d.cu has it, but `boxes` is the map of the bordered `x (frames, height + 2, width + 2, channels)` in boxes of
// 64 channels by `1 << line_bits` (8 or 16) pixels of a line by two lines more than make PIXELS of one frame, `taps` that
// of the weight `(1, 1, outputs, 27 channels)` in boxes of 64 by OUTPUTS, both with the 128-byte swizzle. `x` itself is
// read for SPREAD_RESIDUAL.
//
// Channels and outputs are multiples of 8, for spreading outputs of 64, with a residual channels too. `out` is a multiple
// of 16 bytes. Any number of blocks of 384 threads.
#define CONV3D(NAME, ...)                                                                                             \
    extern "C" __global__ void __launch_bounds__(ConvPlan<__VA_ARGS__>::THREADS, 1)                                   \
    NAME(const __grid_constant__ TensorMap boxes, const __grid_constant__ TensorMap taps, const Bf16* x,              \
         const float* bias, void* out, int frames, int height, int width, int channels, int outputs, int before,      \
         int mode, int patch_time, int patch, int line_bits) {                                                        \
        conv<ConvPlan<__VA_ARGS__>>(&boxes, &taps, x, bias, out,                                                      \
                                    {{frames, height, width, channels}, outputs, before, mode, patch_time, patch, line_bits}); \
    }

// By pixels and outputs; 226432, 226464 and 214208 bytes of shared memory.
CONV3D(conv3d_sm90_128_256, 1, 256, 3, 5, false)
CONV3D(conv3d_sm90_256_128, 2, 128, 3, 7, false)
CONV3D(conv3d_sm90_128_128, 1, 128, 4, 8, false)
// For FRAMES, of 48 outputs; 228544 bytes.
CONV3D(conv3d_sm90_256_48, 2, 48, 5, 7, true)
