// A convolution's weight, brought once into the order in which its input is read.

#include "common.cuh"

// `stored (outputs, channels, taps)` as `out (outputs, taps, channels)`, output `j` being output `order[j]` of the stored
// one. Any grid.
template <typename T>
__device__ __forceinline__ void pack_conv3d(const T* stored, const unsigned int* order, T* out, int outputs, int channels, int taps) {
    const long long row = (long long)channels * taps, count = outputs * row;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += threads) {
        const int output = (int)(i / row), k = (int)(i % row);
        out[i] = stored[order[output] * row + (long long)(k % channels) * taps + k / channels];
    }
}

extern "C" __global__ void pack_conv3d_bf16(const Bf16* stored, const unsigned int* order, Bf16* out, int outputs, int channels, int taps) {
    pack_conv3d(stored, order, out, outputs, channels, taps);
}
extern "C" __global__ void pack_conv3d_f32(const float* stored, const unsigned int* order, float* out, int outputs, int channels, int taps) {
    pack_conv3d(stored, order, out, outputs, channels, taps);
}
