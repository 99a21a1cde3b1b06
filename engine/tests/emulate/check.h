// What the tests of emulated kernels share: buffers with fences, random numbers, and a comparison.
#pragma once

#include "emulator.h"

// `len` elements of NaN. Reading or writing past either end stops the program.
template <typename T>
struct Buffer {
    size_t len;
    T* data;

    explicit Buffer(size_t len) : len(len), data((T*)emulate::fenced(len * sizeof(T), 16)) {
        std::memset((void*)data, 0xff, (len * sizeof(T) + 15) / 16 * 16);
    }
    ~Buffer() {
        // Fewer than 16 bytes lie between the end and the fence.
        for (const unsigned char* p = (unsigned char*)(data + len); (uintptr_t)p % 16 != 0; p++)
            if (*p != 0xff) emulate::fail("wrote behind the end of a buffer");
    }
    Buffer(const Buffer&) = delete;
    T& operator[](size_t i) { return data[i]; }
    const T& operator[](size_t i) const { return data[i]; }
};

// Normally distributed, the same for each seed, and rounded to T.
template <typename T>
void fill(Buffer<T>& buffer, unsigned int seed, float deviation = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, deviation);
    for (size_t i = 0; i < buffer.len; i++) store_f32(&buffer[i], normal(random));
}

inline int failures = 0;

// Counts one failure unless |got - expected| <= tolerance * (1 + |expected|); NaN is never equal.
inline void expect_near(double got, double expected, double tolerance, const char* what, size_t at) {
    if (std::abs(got - expected) <= tolerance * (1.0 + std::abs(expected))) return;
    if (failures++ < 10) std::fprintf(stderr, "%s: element %zu is %g, not %g\n", what, at, got, expected);
}
