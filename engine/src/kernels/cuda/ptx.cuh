// Every instruction that C++ cannot say, each in one small function. Kernels hold no assembly of their own, so a test
// can compile them for the CPU: under CROFT_EMULATED the file "emulator.h" of the tests gives each of these names the
// meaning that the PTX ISA gives the instruction, fragment by fragment.
//
// Nothing here computes anything that is not one instruction.
#pragma once

#ifndef CROFT_EMULATED

// An address in shared memory, in bytes, as ldmatrix and cp.async want it.
typedef unsigned int SharedAddress;

__device__ __forceinline__ SharedAddress shared_address(const void* p) {
    return (SharedAddress)__cvta_generic_to_shared(p);
}

// bf16, to nearest, ties to even.
__device__ __forceinline__ unsigned short bf16_bits(float x) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Two bf16 in a register, `low` at the lower address.
__device__ __forceinline__ unsigned int bf16_pair(float low, float high) {
    unsigned int pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// 2^x, within 2 ulp; -inf gives 0.
__device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 (16 aligned bytes), and
// gets from each matrix elements (l / 4, l % 4 * 2) and the one to the right of it.
__device__ __forceinline__ void ldmatrix_x4(unsigned int (&r)[4], SharedAddress row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}

// The same of the transposed matrices: lane l gets stored elements (l % 4 * 2, l / 4) and the one below it.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned int (&r)[4], SharedAddress row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
}

// d (16 x 8, f32) += a (16 x 16, bf16) * b (16 x 8, bf16). With g = lane / 4 and t = lane % 4 * 2, pairs (low, high):
//   a[0] (g, t..)   a[1] (g + 8, t..)   a[2] (g, t + 8..)   a[3] (g + 8, t + 8..)
//   b[0] (t.., g)   b[1] (t + 8.., g)
//   d[0], d[1] (g, t..)   d[2], d[3] (g + 8, t..)
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Starts to copy 16 bytes from global to shared memory, both aligned. Where `present` is false nothing is read,
// whatever the address, and zeros are written.
__device__ __forceinline__ void copy_async_16(SharedAddress to, const void* from, bool present) {
    asm volatile("{ .reg .u64 p; cvta.to.global.u64 p, %1; cp.async.cg.shared.global.L2::128B [%0], [p], 16, %2; }"
                 :: "r"(to), "l"(from), "r"(present ? 16 : 0) : "memory");
}

// Closes this thread's group of copies; an empty group is one too.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most N of this thread's latest groups are under way. Other threads' copies need a barrier after it.
template <int N>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}

// Shared memory whose size the launch gives.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

#endif
