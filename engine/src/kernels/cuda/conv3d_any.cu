// The convolution for f32, and for channels or outputs that tensor cores do not take: any number of either.
//
// A block makes 64 pixels of a frame by 64 outputs, each thread 4 by 4 of them, 16 inputs at a time.
#include "conv3d.cuh"

constexpr int TILE = 64, DEEP = 16, THREADS = 256, EACH = 4;

template <typename T>
__device__ __forceinline__ void convolve_any(
    const T* x, const T* weight, const float* bias, void* out,
    Clip clip, int outputs, int before, int mode, int patch_time, int patch
) {
    // A row more than the tile, so that threads which write one column touch different banks.
    __shared__ __align__(16) float inputs[DEEP][TILE + 4];
    __shared__ __align__(16) float weights[DEEP][TILE + 4];
    const int pixels = clip.height * clip.width;
    const int columns = (outputs + TILE - 1) / TILE, tiles = (pixels + TILE - 1) / TILE;
    const int column = blockIdx.x % columns, tile = blockIdx.x / columns % tiles, frame = blockIdx.x / columns / tiles;
    const int depth = threadIdx.x % DEEP, row = threadIdx.x / DEEP;
    const int my_pixel = threadIdx.x / 16 * EACH, my_output = threadIdx.x % 16 * EACH;
    const int k_end = 27 * clip.channels;

    int windows[EACH];
    for (int i = 0; i < EACH; i++) {
        const int pixel = min(tile * TILE + row + i * (THREADS / DEEP), pixels - 1);
        windows[i] = pixel / clip.width * clip.line() + pixel % clip.width;
    }
    float sums[EACH][EACH] = {};
    for (int k0 = 0; k0 < k_end; k0 += DEEP) {
        const int k = k0 + depth, tap = k / clip.channels, c = k % clip.channels;
        const int source = clip.seen(frame, tap / 9, before);
        const T* from = x + (long long)source * clip.plane() * clip.channels + c;
        const int offset = tap / 3 % 3 * clip.line() + tap % 3;
        for (int i = 0; i < EACH; i++) {
            const int at = row + i * (THREADS / DEEP), output = column * TILE + at;
            inputs[depth][at] = k < k_end ? to_f32(from[(long long)(windows[i] + offset) * clip.channels]) : 0.0f;
            weights[depth][at] = k < k_end && output < outputs ? to_f32(weight[(long long)output * k_end + k]) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEEP; d++) {
            float a[EACH], b[EACH];
            load_vector(&inputs[d][my_pixel], a);
            load_vector(&weights[d][my_output], b);
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sums[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }

    const Leave leave = {clip, frame, outputs, mode, patch_time, patch};
    for (int i = 0; i < EACH; i++) {
        const int pixel = tile * TILE + my_pixel + i;
        if (pixel >= pixels) break;
        const int y = pixel / clip.width, left = pixel % clip.width;
        const long long to = leave.of_pixel(y, left);
        const T* centre = x + ((long long)frame * clip.plane() + (y + 1) * clip.line() + left + 1) * clip.channels;
        for (int j = 0; j < EACH; j++) {
            const int output = column * TILE + my_output + j;
            if (output < leave.first() || output >= outputs) continue;
            const long long element = to + leave.of_output(output);
            float sum = sums[i][j] + (bias ? bias[output] : 0.0f);
            if (mode == FRAMES) {
                ((float*)out)[element] = sum;
                continue;
            }
            T* kept = (T*)out + element;
            if (mode == ADD) sum += to_f32(*kept);
            if (mode == SPREAD_RESIDUAL) sum += to_f32(centre[leave.residual(output)]);
            store_f32(kept, sum);
        }
    }
}

// As conv3d_bf16, for any channels and outputs (a multiple of 8 for SPREAD): 256 threads for each frame, 64 of
// `height * width` pixels and 64 outputs; grid (frames * tiles * columns).
#define CONV3D_ANY(name, T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS) name(                                                        \
        const T* x, const T* weight, const float* bias, void* out,                                                     \
        int frames, int height, int width, int channels, int outputs, int before, int mode, int patch_time, int patch  \
    ) {                                                                                                                \
        const Clip clip = {frames, height, width, channels};                                                           \
        convolve_any(x, weight, bias, out, clip, outputs, before, mode, patch_time, patch);                            \
    }

CONV3D_ANY(conv3d_any_bf16, Bf16)
CONV3D_ANY(conv3d_any_f32, float)
