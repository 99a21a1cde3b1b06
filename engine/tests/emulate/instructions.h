// What the device has beside C++: barriers, shuffles, intrinsics, and the functions of ptx.cuh after the PTX ISA.
#pragma once

#include "emulator.h"

inline float __uint_as_float(unsigned int bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline unsigned int __float_as_uint(float x) {
    unsigned int bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float fdividef(float x, float y) { return x / y; }

template <typename T>
T __ldg(const T* p) { return *p; }

template <typename T>
T atomicAdd(T* p, T x) {
    const T old = *p;
    *p = old + x;
    return old;
}

inline void __syncthreads() { emulate::wait(emulate::State::AtBlock); }

namespace emulate {

inline void whole_warp(unsigned int mask) {
    if (mask != 0xffffffffu) fail("only collectives of the whole warp are known here");
}

inline int lane() { return (int)((current - threads.data()) % 32); }

template <typename T>
T shuffle(unsigned int mask, T x, int from) {
    struct Part {
        T x;
        int from;
        T got;
    } part = {x, from, x};
    whole_warp(mask);
    together<Part>([](Part* const* parts) { for (int i = 0; i < 32; i++) parts[i]->got = parts[parts[i]->from]->x; }, part);
    return part.got;
}

} // namespace emulate

template <typename T>
T __shfl_xor_sync(unsigned int mask, T x, int bits) {
    return emulate::shuffle(mask, x, emulate::lane() ^ bits);
}

template <typename T>
T __shfl_sync(unsigned int mask, T x, int from) {
    return emulate::shuffle(mask, x, from & 31);
}

template <typename T>
T __shfl_down_sync(unsigned int mask, T x, int by) {
    const int from = emulate::lane() + by;
    return emulate::shuffle(mask, x, from < 32 ? from : emulate::lane());
}

template <typename T>
T __shfl_up_sync(unsigned int mask, T x, int by) {
    const int from = emulate::lane() - by;
    return emulate::shuffle(mask, x, from >= 0 ? from : emulate::lane());
}

inline unsigned int __ballot_sync(unsigned int mask, int holds) {
    struct Part {
        bool holds;
        unsigned int all;
    } part = {holds != 0, 0};
    emulate::whole_warp(mask);
    emulate::together<Part>(
        [](Part* const* parts) {
            unsigned int all = 0;
            for (int i = 0; i < 32; i++) all |= (unsigned int)parts[i]->holds << i;
            for (int i = 0; i < 32; i++) parts[i]->all = all;
        },
        part);
    return part.all;
}

inline int __any_sync(unsigned int mask, int holds) { return __ballot_sync(mask, holds) != 0; }
inline int __all_sync(unsigned int mask, int holds) { return __ballot_sync(mask, holds) == 0xffffffffu; }
inline void __syncwarp(unsigned int mask = 0xffffffffu) { __ballot_sync(mask, 0); }

// From here on: ptx.cuh.

typedef unsigned int SharedAddress;

namespace emulate {

// Where a block's dynamic shared memory begins: aligned as DYNAMIC_SHARED says, and no better.
inline constexpr SharedAddress SHARED_START = 1024 + 128;

} // namespace emulate

inline SharedAddress shared_address(const void* p) {
    return emulate::SHARED_START + (SharedAddress)((const unsigned char*)p - emulate::dynamic_shared);
}

inline unsigned short bf16_bits(float x) {
    const unsigned int bits = __float_as_uint(x);
    if (x != x) return 0x7fff;
    return (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline unsigned int bf16_pair(float low, float high) { return bf16_bits(low) | (unsigned int)bf16_bits(high) << 16; }
inline float exp2_approx(float x) { return exp2f(x); }

#define DYNAMIC_SHARED(name) unsigned char* const name = emulate::dynamic_shared

namespace emulate {

inline float bf16(unsigned int pair, int half) { return __uint_as_float(half ? pair & 0xffff0000u : pair << 16); }

// `bytes` of this block's dynamic shared memory.
inline unsigned char* shared_bytes(SharedAddress at, size_t bytes) {
    if (at < SHARED_START || at + bytes > SHARED_START + dynamic_shared_bytes) fail("outside the dynamic shared memory");
    return dynamic_shared + (at - SHARED_START);
}

inline unsigned char* shared_16(SharedAddress at) {
    if (at % 16 != 0) fail("16 bytes of shared memory that are not aligned");
    return shared_bytes(at, 16);
}

struct Matrices {
    SharedAddress row;
    unsigned int* r;
};

template <bool TRANSPOSED>
void ldmatrix(Matrices* const* parts) {
    for (int matrix = 0; matrix < 4; matrix++) {
        unsigned short m[8][8];
        for (int row = 0; row < 8; row++) std::memcpy(m[row], shared_16(parts[matrix * 8 + row]->row), 16);
        for (int i = 0; i < 32; i++) {
            const int g = i / 4, t = i % 4 * 2;
            const unsigned short low = TRANSPOSED ? m[t][g] : m[g][t], high = TRANSPOSED ? m[t + 1][g] : m[g][t + 1];
            parts[i]->r[matrix] = low | (unsigned int)high << 16;
        }
    }
}

struct Product {
    float* d;
    const unsigned int* a;
    unsigned int b[2];
};

inline void mma(Product* const* parts) {
    float a[16][16], b[16][8];
    for (int i = 0; i < 32; i++) {
        const int g = i / 4, t = i % 4 * 2;
        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 4; r++) a[g + r % 2 * 8][t + r / 2 * 8 + half] = bf16(parts[i]->a[r], half);
            for (int r = 0; r < 2; r++) b[t + r * 8 + half][g] = bf16(parts[i]->b[r], half);
        }
    }
    for (int i = 0; i < 32; i++)
        for (int r = 0; r < 4; r++) {
            const int row = i / 4 + r / 2 * 8, column = i % 4 * 2 + r % 2;
            float sum = 0;
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            parts[i]->d[r] += sum;
        }
}

inline void land(const Copy& copy) { std::memcpy(copy.to, copy.bytes, 16); }

} // namespace emulate

inline void ldmatrix_x4(unsigned int (&r)[4], SharedAddress row) {
    emulate::Matrices part = {row, r};
    emulate::together(emulate::ldmatrix<false>, part);
}

inline void ldmatrix_x4_trans(unsigned int (&r)[4], SharedAddress row) {
    emulate::Matrices part = {row, r};
    emulate::together(emulate::ldmatrix<true>, part);
}

inline void mma_bf16(float (&d)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1) {
    emulate::Product part = {d, a, {b0, b1}};
    emulate::together(emulate::mma, part);
}

inline void copy_async_16(SharedAddress to, const void* from, bool present) {
    if ((uintptr_t)from % 16 != 0) emulate::fail("an asynchronous copy from an address that is not aligned");
    emulate::Copy copy = {emulate::shared_16(to), {}};
    if (present) std::memcpy(copy.bytes, from, 16);
    if (emulate::order == emulate::Order::Ascending)
        emulate::current->copies.back().push_back(copy);
    else
        emulate::land(copy);
}

inline void copy_async_commit() { emulate::current->copies.emplace_back(); }

template <int N>
void copy_async_wait() {
    std::deque<std::vector<emulate::Copy>>& copies = emulate::current->copies;
    while (copies.size() > N + 1) {
        for (const emulate::Copy& copy : copies.front()) emulate::land(copy);
        copies.pop_front();
    }
}
