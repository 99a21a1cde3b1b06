// What sm_90a has beyond other cards, one thin wrapper per instruction: barriers in shared memory that count bytes,
// copies of whole tiles by tensor map, and matrix products of four warps (a group) that read shared memory by
// themselves. Needs the target sm_90a.
#pragma once

#include "common.cuh"

typedef unsigned int u32;
typedef unsigned long long u64;

// What cuTensorMapEncodeTiled fills in; a kernel takes it as `const __grid_constant__`.
struct alignas(64) TensorMap {
    u64 opaque[16];
};

constexpr int GROUP_THREADS = 128;

// Position in a ring of SIZE slots: the slot, and the parity of the round.
template <int SIZE>
struct Ring {
    int slot = 0;
    u32 parity = 0;

    __device__ __forceinline__ void step() {
        if (++slot == SIZE) slot = 0, parity ^= 1;
    }
};

// Four registers of four lanes, transposed: afterwards lane l of a quad has register l of each of its lanes, in order.
__device__ __forceinline__ void transpose_quad(u32 (&x)[4]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const u32 got = __shfl_xor_sync(0xffffffffu, odd ? x[i] : x[i + 1], 1);
        if (odd) x[i] = got;
        else x[i + 1] = got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const u32 got = __shfl_xor_sync(0xffffffffu, upper ? x[i] : x[i + 2], 2);
        if (upper) x[i] = got;
        else x[i + 2] = got;
    }
}

// Where a bf16 operand lies in shared memory: rows of 128 bytes, swizzled in units of eight rows (1024 bytes) as the
// tensor map's 128-byte swizzle leaves them. The start must be a multiple of 1024 bytes plus at most 96 within the row.
//
// When k runs along the row (K-major), eight rows further is `rows8` bytes and `columns64` is not looked at; the next
// k16 is 32 bytes further. When k runs down the rows (MN-major), eight k further is `rows8` bytes, the next 64 columns
// are `columns64` bytes further, and the next k16 is two units (2048 bytes) further.
__device__ __forceinline__ u64 operand(u32 address, u32 columns64, u32 rows8) {
    return (u64)((address & 0x3ffff) >> 4) | (u64)(columns64 >> 4) << 16 | (u64)(rows8 >> 4) << 32 | (u64)1 << 62;
}

// The operand `bytes` further on.
__device__ __forceinline__ u64 operand_at(u64 operand, u32 bytes) { return operand + (bytes >> 4); }

// From here on: what C++ cannot say. Under CROFT_EMULATED the file "hopper.h" of the tests gives each of these names its
// meaning, as in ptx.cuh.
#ifndef CROFT_EMULATED

// ---- Barriers. A barrier is 8 bytes of shared memory; its phases are told apart by their parity. ----

__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// After the inits and before the block's __syncthreads, so that the copy engine sees them too.
__device__ __forceinline__ void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives and lets the phase wait for that many bytes of copies as well.
__device__ __forceinline__ void barrier_arrive_expecting(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ bool barrier_try_wait(u32 barrier, u32 parity) {
    u32 done;
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
    return done != 0;
}

// Until the phase of this parity is over. With HOPPER_SPINS_MAX a wait that never ends is a fault, not a hang.
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
#ifdef HOPPER_SPINS_MAX
    for (u32 spins = 0; !barrier_try_wait(barrier, parity); spins++)
        if (spins > HOPPER_SPINS_MAX) __trap();
#else
    while (!barrier_try_wait(barrier, parity)) {
    }
#endif
}

// Barriers of the block by number: `threads` counts those that sync and those that only arrive.
__device__ __forceinline__ void named_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- Copies of tiles. ----

__device__ __forceinline__ void tensor_map_prefetch(const TensorMap* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// One box of a tensor of four dimensions; what lies outside the tensor arrives as zeros and counts as bytes all the
// same. One thread asks.
__device__ __forceinline__ void copy_box(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
        ::"r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
        : "memory");
}

// ---- Registers. All warps of a group must ask. ----

template <int COUNT>
__device__ __forceinline__ void registers_give() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT>
__device__ __forceinline__ void registers_take() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// ---- Products of a group. ----

// Before the first product, and after plain instructions wrote registers that a product will touch.
__device__ __forceinline__ void products_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until at most PENDING of the committed batches are still running.
template <int PENDING>
__device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// The compiler takes an accumulator for written as soon as its product is asked for. This keeps every use of it
// behind the wait that precedes this call (or before the product that follows).
template <int COUNT>
__device__ __forceinline__ void hold(float (&x)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(x[i])::"memory");
}

template <int COUNT>
__device__ __forceinline__ void hold(u32 (&x)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(x[i])::"memory");
}

// Makes the compiler take one address and constant offsets from it, where it would reckon an address for each load.
__device__ __forceinline__ void hold(const float*& p) { asm volatile("" : "+l"(p)); }

// d (64 rows, N columns) += a (64, 16) * b (16, N), bf16 with f32 sums. Thread t of the group holds in d[i] row
// 16 * (t / 32) + (t % 32) / 4 + 8 * (i / 2 % 2), column 8 * (i / 4) + 2 * (t % 4) + i % 2.
//
// `from_shared` reads a and b by operands, both K-major, and forgets what d held unless `add`; `from_registers` takes
// a as packed pairs (a column block of 16 in the layout of d, rounded) and b MN-major.
template <int N>
struct Product;

#define HOPPER_8(d, i)                                                                                             \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define HOPPER_16(d, i) HOPPER_8(d, i), HOPPER_8(d, i + 8)
#define HOPPER_24(d) HOPPER_16(d, 0), HOPPER_8(d, 16)
#define HOPPER_32(d) HOPPER_16(d, 0), HOPPER_16(d, 16)
#define HOPPER_48(d) HOPPER_32(d), HOPPER_16(d, 32)
#define HOPPER_64(d) HOPPER_48(d), HOPPER_16(d, 48)
#define HOPPER_80(d) HOPPER_64(d), HOPPER_16(d, 64)
#define HOPPER_88(d) HOPPER_80(d), HOPPER_8(d, 80)
#define HOPPER_128(d) HOPPER_80(d), HOPPER_16(d, 80), HOPPER_16(d, 96), HOPPER_16(d, 112)

#define HOPPER_NAMES_24                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23"
#define HOPPER_NAMES_32                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_NAMES_48 HOPPER_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define HOPPER_NAMES_64 HOPPER_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define HOPPER_NAMES_80 HOPPER_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define HOPPER_NAMES_88 HOPPER_NAMES_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define HOPPER_NAMES_128                                                                                        \
    HOPPER_NAMES_80 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// R accumulators, an operand or four registers of pairs, an operand.
#define HOPPER_FROM_SHARED(N, R, A, B, ADD)                                                        \
    static __device__ __forceinline__ void from_shared(float (&d)[R], u64 a, u64 b, int add) {     \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ADD ", 0;\n"                             \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 "                   \
                     "{" HOPPER_NAMES_##R "}, " A ", " B ", p, 1, 1, 0, 0;\n}\n"                   \
                     : HOPPER_##R(d)                                                               \
                     : "l"(a), "l"(b), "r"(add));                                                  \
    }
#define HOPPER_FROM_REGISTERS(N, R, A, B)                                                          \
    static __device__ __forceinline__ void from_registers(float (&d)[R], u32 a0, u32 a1, u32 a2,   \
                                                          u32 a3, u64 b) {                         \
        asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\n"                                   \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 "                   \
                     "{" HOPPER_NAMES_##R "}, {" A "}, " B ", p, 1, 1, 1;\n}\n"                    \
                     : HOPPER_##R(d)                                                               \
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));                                \
    }

template <>
struct Product<48> {
    HOPPER_FROM_SHARED(48, 24, "%24", "%25", "%26")
};

template <>
struct Product<64> {
    HOPPER_FROM_REGISTERS(64, 32, "%32, %33, %34, %35", "%36")
};

template <>
struct Product<128> {
    HOPPER_FROM_SHARED(128, 64, "%64", "%65", "%66")
    HOPPER_FROM_REGISTERS(128, 64, "%64, %65, %66, %67", "%68")
};

template <>
struct Product<176> {
    HOPPER_FROM_SHARED(176, 88, "%88", "%89", "%90")
};

template <>
struct Product<256> {
    HOPPER_FROM_SHARED(256, 128, "%128", "%129", "%130")
};

#endif
