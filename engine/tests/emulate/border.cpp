// border.cu on the CPU: all of the bordered form, where it is normalised and where it is not.
#include "emulator.h"

#include "../../src/kernels/cuda/border.cu"

#include "check.h"

struct Size {
    int frames, height, width, channels;
};

template <typename T>
static double tolerance() { return sizeof(T) == 2 ? 1.0 / 250 : 1e-5; }

// Everything of the bordered form; `normed` or as it is.
template <typename T, typename Kernel, typename... More>
static void bordered(const char* name, Kernel kernel, emulate::Order order, int grid, const Size& s, bool normed,
                     const float* scale, const float* shift, More... more) {
    Buffer<T> x((size_t)s.frames * s.height * s.width * s.channels);
    Buffer<T> out((size_t)s.frames * (s.height + 2) * (s.width + 2) * s.channels);
    fill(x, 1, 3.0f);
    emulate::launch(order, kernel, dim3(grid), dim3(64), 0, x.data, out.data, s.frames, s.height, s.width, s.channels, more...);
    for (size_t pixel = 0; pixel < out.len / s.channels; pixel++) {
        const int column = pixel % (s.width + 2) - 1, row = (int)(pixel / (s.width + 2) % (s.height + 2)) - 1;
        const size_t frame = pixel / (s.width + 2) / (s.height + 2);
        const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
        const T* from = x.data + ((frame * s.height + std::max(row, 0)) * s.width + std::max(column, 0)) * s.channels;
        double squares = 0;
        for (int c = 0; inside && c < s.channels; c++) squares += std::pow((double)to_f32(from[c]), 2);
        for (int c = 0; c < s.channels; c++) {
            double v = inside ? to_f32(from[c]) : 0;
            if (inside && normed) {
                v /= std::sqrt(squares / s.channels + 1e-8);
                if (scale) v = v * (1 + scale[c]) + shift[c];
                v /= 1 + std::exp(-v);
            }
            const size_t at = pixel * s.channels + c;
            expect_near(to_f32(out[at]), v, inside && !normed ? 0 : tolerance<T>(), name, at);
        }
    }
}

template <typename T, typename Norm, typename Copy>
static void check_borders(Norm norm, Copy copy, emulate::Order order, int grid, const Size& s) {
    Buffer<float> scale(s.channels), shift(s.channels);
    fill(scale, 2), fill(shift, 3);
    const float *none = nullptr, *a = scale.data, *b = shift.data;
    bordered<T>("norm_silu_border", norm, order, grid, s, true, a, b, 1e-8f, a, b);
    bordered<T>("norm_silu_border", norm, order, grid, s, true, none, none, 1e-8f, none, none);
    bordered<T>("border", copy, order, grid, s, false, none, none);
}

int main() {
    for (emulate::Order order : emulate::ORDERS)
        for (const Size& s : {Size{2, 3, 5, 128}, {1, 1, 1, 8}, {2, 2, 3, 7}, {1, 2, 2, 1024}, {1, 3, 2, 264}}) {
            check_borders<Bf16>(norm_silu_border_bf16, border_bf16, order, 3, s);
            check_borders<float>(norm_silu_border_f32, border_f32, order, 3, s);
        }
    std::printf("%d failures\n", failures);
    return failures != 0;
}
