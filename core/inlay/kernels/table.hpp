// The dispatch table: one immutable set of kernels a level, and the level in use.
#pragma once

#include "kernels/additive.hpp"
#include "kernels/codes.hpp"
#include "kernels/digits.hpp"
#include "kernels/fastscan.hpp"
#include "kernels/float32.hpp"
#include "kernels/front.hpp"
#include "kernels/gather.hpp"
#include "kernels/hadamard.hpp"
#include "kernels/lookup.hpp"
#include "kernels/lorann.hpp"
#include "kernels/lvq.hpp"
#include "kernels/nearest.hpp"
#include "kernels/rabitq.hpp"
#include "kernels/signmag.hpp"
#include "kernels/stages.hpp"
#include "kernels/topk.hpp"

namespace inlay {

struct Kernels {
    float32::Scores squared_l2, negative_ip;
    float32::ScoresOf squared_l2_of, negative_ip_of;
    float32::Scores squared_l2_half, negative_ip_half;  // float16 rows
    float32::ScoresOf squared_l2_half_of, negative_ip_half_of;
    codes::Dots dots4_one, dots4_eight, dots8_one, dots8_eight;
    lvq::Scan scan4_one, scan4_eight, scan8_one, scan8_eight;
    lvq::FindGrid min_max, multi_start;
    lvq::Quantise quantise;
    lvq::Residual residual;
    lvq::Expand expand;
    lvq::UnpackNibbles unpack_nibbles;
    lvq::Estimate estimate;
    lvq::Query quantise_query;
    gather::Near near4, near8;
    lorann::Scan lorann4_one, lorann4_eight, lorann8_one, lorann8_eight;
    signmag::Scores signmag2, signmag4, hamming;
    digits::Measure measure;
    digits::Digits digits2, digits4;
    rabitq::Subtract rabitq_subtract;
    rabitq::Fit rabitq_fit;
    rabitq::Code rabitq_code;
    rabitq::Assign rabitq_assign;
    fastscan::Sums fastscan32, fastscan64;
    lookup::Estimates estimates;
    lookup::SubsetTables subset_tables;
    lookup::QuantiseTables quantise_tables;
    stages::Scan stages16, stages256;
    additive::Products products;
    additive::ShortProducts short_products;
    additive::AddWords add_words;
    additive::Extend extend;
    front::Extreme least, greatest;
    topk::Collect collect;
    hadamard::Transform hadamard;
    hadamard::Round hadamard_round;
    nearest::TwoLeast two_least;
    nearest::Approach approach;
};

#define INLAY_FLOAT_ROWS(SUFFIX, ROW)                                          \
    float32::scores_##SUFFIX<true, ROW>, float32::scores_##SUFFIX<false, ROW>, \
        float32::scores_of_##SUFFIX<true, ROW>, float32::scores_of_##SUFFIX<false, ROW>
#define INLAY_FLOAT(SUFFIX) INLAY_FLOAT_ROWS(SUFFIX, float), INLAY_FLOAT_ROWS(SUFFIX, float32::Half)
#define INLAY_LVQ(SUFFIX)                                                                             \
    lvq::min_max_##SUFFIX, lvq::multi_start_##SUFFIX, lvq::quantise_##SUFFIX, lvq::residual_##SUFFIX, \
        lvq::expand_##SUFFIX, lvq::unpack_nibbles_##SUFFIX, lvq::estimate_##SUFFIX, lvq::query_##SUFFIX
#define INLAY_NEAR(SUFFIX) gather::near_##SUFFIX<4>, gather::near_##SUFFIX<8>
#define INLAY_LORANN(ONE4, EIGHT4, ONE8, EIGHT8, FINISH)                            \
    lorann::scan_in_runs<ONE4, FINISH, 1>, lorann::scan_in_runs<EIGHT4, FINISH, 8>, \
        lorann::scan_in_runs<ONE8, FINISH, 1>, lorann::scan_in_runs<EIGHT8, FINISH, 8>
#define INLAY_SIGNMAG(SUFFIX, PLAIN)                                                    \
    signmag::scores_##SUFFIX<2>, signmag::scores_##SUFFIX<4>, signmag::hamming_##PLAIN, \
        digits::measure_##PLAIN, digits::digits_##PLAIN<2>, digits::digits_##PLAIN<4>,  \
        rabitq::subtract_##PLAIN, rabitq::fit_##PLAIN, rabitq::code_##PLAIN, rabitq::assign_##PLAIN
#define INLAY_FASTSCAN(SUFFIX, TABLES)                                                \
    fastscan::sums32_##SUFFIX, fastscan::sums64_##SUFFIX, lookup::estimates_##SUFFIX, \
        lookup::subset_tables_##TABLES, lookup::quantise_tables_##TABLES
#define INLAY_FRONT(SUFFIX) front::extreme_##SUFFIX<true>, front::extreme_##SUFFIX<false>
// Scans of codes in stages: how 64 sums are made of 32 by 32 codes of 4 bits and of 64 codes of 8, and
// finished.
#define INLAY_STAGES(HALF, WHOLE, FINISH)                                           \
    stages::scan<stages::sums16<fastscan::sums32_##HALF>, stages::finish_##FINISH>, \
        stages::scan<stages::sums256_##WHOLE, stages::finish_##FINISH>
#define INLAY_ADDITIVE(SUFFIX) \
    additive::products_##SUFFIX, additive::short_products_##SUFFIX, additive::add_words_##SUFFIX, \
        additive::extend_##SUFFIX
#define INLAY_NEAREST(PLAIN) nearest::two_least_##PLAIN, nearest::approach_##PLAIN
// The four products, then the four scans made of them.
#define INLAY_DOTS(ONE4, EIGHT4, ONE8, EIGHT8, ESTIMATE)                              \
    ONE4, EIGHT4, ONE8, EIGHT8, lvq::scan_in_runs<ONE4, ESTIMATE, 1>,                 \
        lvq::scan_in_runs<EIGHT4, ESTIMATE, 8>, lvq::scan_in_runs<ONE8, ESTIMATE, 1>, \
        lvq::scan_in_runs<EIGHT8, ESTIMATE, 8>

inline constexpr Kernels kScalarKernels = {
    INLAY_FLOAT(scalar),
    INLAY_DOTS((codes::dots_scalar<4, 1>), (codes::dots_scalar<4, 8>), (codes::dots_scalar<8, 1>),
               (codes::dots_scalar<8, 8>), lvq::estimate_scalar),
    INLAY_LVQ(scalar),
    INLAY_NEAR(scalar),
    INLAY_LORANN((codes::dots_scalar<4, 1>), (codes::dots_scalar<4, 8>), (codes::dots_scalar<8, 1>),
                 (codes::dots_scalar<8, 8>), lorann::finish_scalar),
    INLAY_SIGNMAG(scalar, scalar),
    INLAY_FASTSCAN(scalar, scalar),
    INLAY_STAGES(scalar, scalar, scalar),
    INLAY_ADDITIVE(scalar),
    INLAY_FRONT(scalar),
    topk::collect_scalar,
    hadamard::transform_scalar,
    hadamard::round_scalar,
    INLAY_NEAREST(scalar),
};
#if defined(INLAY_X86)
inline constexpr Kernels kAvx2Kernels = {
    INLAY_FLOAT(avx2),
    INLAY_DOTS(codes::dots4_avx2<1>, codes::dots4_avx2<8>, codes::dots8_avx2<1>, codes::dots8_avx2<8>,
               lvq::estimate_avx2),
    INLAY_LVQ(avx2),
    INLAY_NEAR(avx2),
    INLAY_LORANN(codes::dots4_avx2<1>, codes::dots4_avx2<8>, codes::dots8_avx2<1>, codes::dots8_avx2<8>,
                 lorann::finish_avx2),
    INLAY_SIGNMAG(avx2, avx2),
    INLAY_FASTSCAN(avx2, avx2),
    INLAY_STAGES(avx2, avx2, avx2),
    INLAY_ADDITIVE(avx2),
    INLAY_FRONT(avx2),
    topk::collect_avx2,
    hadamard::transform_avx2,
    hadamard::round_avx2,
    INLAY_NEAREST(avx2),
};
inline constexpr Kernels kAvx512Kernels = {
    INLAY_FLOAT(avx512),
    codes::dots_one_avx512<4>,
    codes::dots_eight_avx512<4>,
    codes::dots_one_avx512<8>,
    codes::dots_eight_avx512<8>,
    lvq::scan_avx512<4, 1>,
    lvq::scan_avx512<4, 8>,
    lvq::scan_avx512<8, 1>,
    lvq::scan_avx512<8, 8>,
    INLAY_LVQ(avx512),
    INLAY_NEAR(avx512),
    lorann::scan_avx512<4, 1>,
    lorann::scan_avx512<4, 8>,
    lorann::scan_avx512<8, 1>,
    lorann::scan_avx512<8, 8>,
    INLAY_SIGNMAG(avx512, avx512),
    INLAY_FASTSCAN(avx512, avx2),
    stages::scan<stages::sums16<fastscan::sums32_avx512>, stages::finish_avx512>,
    stages::scan256_avx512,
    INLAY_ADDITIVE(avx512),
    INLAY_FRONT(avx512),
    topk::collect_avx512,
    hadamard::transform_avx512,
    hadamard::round_avx512,
    INLAY_NEAREST(avx2),
};
#elif defined(INLAY_NEON)
// Plain C++ is compiled with NEON here, so the scalar text of lvq.hpp is its NEON form already.
inline constexpr Kernels kNeonKernels = {
    INLAY_FLOAT(neon),
    INLAY_DOTS(codes::dots4_neon<1>, codes::dots4_neon<8>, codes::dots8_neon<1>, codes::dots8_neon<8>,
               lvq::estimate_scalar),
    INLAY_LVQ(scalar),
    INLAY_NEAR(neon),
    INLAY_LORANN(codes::dots4_neon<1>, codes::dots4_neon<8>, codes::dots8_neon<1>, codes::dots8_neon<8>,
                 lorann::finish_neon),
    INLAY_SIGNMAG(neon, scalar),
    INLAY_FASTSCAN(neon, scalar),
    INLAY_STAGES(neon, neon, scalar),
    INLAY_ADDITIVE(scalar),
    INLAY_FRONT(neon),
    topk::collect_neon,
    hadamard::transform_neon,
    hadamard::round_neon,
    INLAY_NEAREST(scalar),
};
inline constexpr Kernels kNeonDotKernels = {
    INLAY_FLOAT(neon),
    INLAY_DOTS(codes::dots_one_neon_dot<4>, codes::dots_eight_neon_dot<4>, codes::dots_one_neon_dot<8>,
               codes::dots_eight_neon_dot<8>, lvq::estimate_scalar),
    INLAY_LVQ(scalar),
    INLAY_NEAR(neon_dot),
    INLAY_LORANN(codes::dots_one_neon_dot<4>, codes::dots_eight_neon_dot<4>, codes::dots_one_neon_dot<8>,
                 codes::dots_eight_neon_dot<8>, lorann::finish_neon),
    INLAY_SIGNMAG(neon, scalar),
    INLAY_FASTSCAN(neon, scalar),
    INLAY_STAGES(neon, neon, scalar),
    INLAY_ADDITIVE(scalar),
    INLAY_FRONT(neon),
    topk::collect_neon,
    hadamard::transform_neon,
    hadamard::round_neon,
    INLAY_NEAREST(scalar),
};
#endif
#undef INLAY_FLOAT_ROWS
#undef INLAY_FLOAT
#undef INLAY_LVQ
#undef INLAY_NEAR
#undef INLAY_LORANN
#undef INLAY_SIGNMAG
#undef INLAY_FASTSCAN
#undef INLAY_FRONT
#undef INLAY_STAGES
#undef INLAY_ADDITIVE
#undef INLAY_NEAREST
#undef INLAY_DOTS

// Null for a level that this build or this CPU does not have.
inline const Kernels* kernels_of(Level level) {
    if (level > best_level()) return nullptr;
    switch (level) {
        case kScalar:
            return &kScalarKernels;
#if defined(INLAY_X86)
        case kAvx2:
            return &kAvx2Kernels;
        case kAvx512:
            return &kAvx512Kernels;
#elif defined(INLAY_NEON)
        case kNeon:
            return &kNeonKernels;
        case kNeonDot:
            return &kNeonDotKernels;
#endif
        default:
            return nullptr;
    }
}

}  // namespace inlay
