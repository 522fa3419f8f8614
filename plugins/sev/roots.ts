// AMD's keys of SEV and SEV-ES: the trust anchors, as figures. Each is an RSA key with the exponent 65537; the fingerprint
// is the SHA-256 of its certificate up to the signature, which AMD publishes as ask_ark_{line}.cert. Compare them
// before you trust a build.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, type KeyObject } from 'node:crypto'

export interface AmdKey {
    readonly line: 'Naples' | 'Rome' | 'Milan' | 'Genoa' | 'Turin'
    /** ARK: the root. ASK: signs the keys of chips (CEK); the root has signed it. */
    readonly role: 'ARK' | 'ASK'
    /** As its certificate has it, hex. */
    readonly keyId: string
    /** SHA-256 of its certificate up to the signature. */
    readonly sha256: string
    /** The modulus, base64url. */
    readonly n: string
}

export const AMD_KEYS: readonly AmdKey[] = [
    {
        line: 'Naples',
        role: 'ARK',
        keyId: '1bb987c359494606b174945601c9ea5b',
        sha256: '8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31',
        n: '276RZVRYssDJkKYRJGxQ0NFW_jpAxq0ZddpJmwoDJbtU34vH9dihu0oM_b7lWKv0eSeBsMOo_jA2XDMrWcmi3zFvOAN_llooA5ACIYcuUc2UP2VVYlY6R6mh1mmT8UT_WjVukCfbvG6kPjP99VVoS_79gxs6dGY-9CAVB4wQWX5BqVNnNx400QIE1sLnyx-8HWthRbRY8pwQGeMXpkNqi-i3Md-sGGG6tSI9oDzJCgJy1SMR6xng-FaPLR6IVhWp2MYji2VqBoNo7gr7aovS7_ldN-rjQn9ANF01qCe5f06QEuBWYKyftIZ33oTUlJgm_eRcJDqmVescgwAKzmBsuQ',
    },
    {
        line: 'Naples',
        role: 'ASK',
        keyId: 'e139970cfc464377ae61b289e2f9e96e',
        sha256: '5dff2a2a4dd59dc095d73a26af28be523192ade830bdd35bacdd81ee75584c45',
        n: '04LslGkilmvlBO8iBdpErjGboKfOmGdFVB5VThjuTsgOnffL8Rk72af4HOQacjbxGDiIm2EKcFmOQiqwuuBTiOaUP_ptuPJOGF0ijGXDnScN6PssTrO9yuwtQet-TEJSor2tkYtpd2YVB9HltUNYo91YbVEqr0J-pW7YLLPmxAYJn_VyHUFElLc8MuKuGfAxVGs2NerYOwjmIoBTEaLJz4sV72AqgZE6JtqIvtXvSCXB7brR8bDN2eTLS84O11eGsvlJ8IYKuq7m-WFlCugDNahaO7xtyoPAfnpd1_t5o94V8PQRme6uExQkEjUKkiJNQ9UiKVnGLioinfAEZwiBHw',
    },
    {
        line: 'Rome',
        role: 'ARK',
        keyId: 'e6002122fb58419399d15fee7b131351',
        sha256: 'ae2456af6c6ad234badd6c75e58915be61568286766083853bf668e6e23977c3',
        n: '3HUO8bppxfQnPwBLgRxIpoPC7KwN6pb0sqBqVzr2UCNdHwibfGxqjv_5EDNE59-ixogbXvYZMoGePaw9oX_kSjI9Ut6jZtqGGZRwDYGsXpMWpT0xAcooo0QnxeVg-XoMAF85hn5MpEY94gGfjtMomPNeSxq5A7f1viQkbRh6sqQGPFLBzb6KcdPGgfUM5SAgAZ5hQ-ZeJCZbJLl0f_s7v9wQMaYowQry4RA7k0LlGjxcRhW4wzJ-UXGLAibmyJQoAU-b0VLdGRpBAgKHydI9jDmbBL99QXhkfVHodFQPFxUwCHjKyXEv1Lc_ObL_Y4E3nECJWhJwMzWaepZe4yCwfAchlZ1kPrzhPEAQMFcEYGbrbWM0hq0QT_AtaLfgcSoL1Ddh5QNKycZN_UbucIzWRiNUkfvQmJ9aEhzJyyhj5WKv7h1DOI6HI6ni1BvHawP-aMcnu4DqXEZ24MvSwwOQPpeZo2SoHGBEP5tWlvctfcOkk058zwHVPj13n_PZ5vK0slASYG9T-LgmPA-DTcQoWdbkCigbHQ2xFok4X5L3OJ22mbjY2nmqiUFyaN_4fmAuBqcsbv-ht79jD5fOeQb2FcNDbSiIGW2rUjzqfbR2DHF5N0vKLS-ZL73sEzoK6zJ_VgTc3qQ7Dq2mjje33DfC6Fwg6aWrGfI_RIXXAF6VGKs',
    },
    {
        line: 'Rome',
        role: 'ASK',
        keyId: 'c6cbcf145b3146f498e40ecb4ad4fded',
        sha256: '1f668d63e0a7cb120a41bfb1bcefca715564a187305237f058f6e62c3d4ba5b0',
        n: 'uJpqz7vOWo97MxUMU85aJB53cm54l-TkblqTWk2hmdaItW4pxLObORMVTsa5Ta15-axCf9gJqjCnO6zrnolXS7GoKn0mY8F1944Yn8WTDZMGsEVCAHgZU8ux7LTVbURYSkvwTJA1DuR3W8MBUr-7b0ixmsfLD4tdLueLEnGLN6w--kjMYHW35Qm8l4MciScSqJtHs6ON0g-Fg61dKXt-t0i80YPO21qD7Lq6jgL4JM-gzVCSWNPFIk1yRtudIuF25Hm6PNHpbuk_unyVrqcQfVBN-Yxp3PQM4sNY02uRPOVK97l5EDPMMw59AgpiV_LAcI1Xi5B44Ch9wVbAhjSQKCsk3UXBphf-scN9hNuCWnGk8s7ZaFFyKmfpwksu2HPHmrRm2ZOA53prvN5lGXP8dGJZvuXdjup94oyTpeAJViTNrVSP-Rqv8UjM_-dukoaTwJbJN-lcKTX1S7AtEVWt5g-7tz-HD_a4p3ptaalnvY2XPPe5YjKjlXBz7EaB_mHM84rSN8fRdcxNQrRuclyVZrWLh9cXKbhws6IZECmz29Dioi_eaG0JJ6NwORWo8LAuKwVoSjTWROHeSlYHok82gzTWrw_d5uf1Ep7lL5dnVQ7V4PYDyYRZe_6q8A85Ra5pBfL5xAnvlWJ5OeHc0HKYXjaBCLq2iOjeziNDdae5lws',
    },
    {
        line: 'Milan',
        role: 'ARK',
        keyId: '94c38e4177d0479292a7ae671d083fb6',
        sha256: '263b13fd3170c6ffbb0b4f01f09848dc08a8dc1e9637d47e42cbe6c135e4af12',
        n: '0Ld52RJOdeiJlqK2JdsVmD7FktuotWwX1fNgW41XY9Xz1HEhSUmhLz9Cu9DHRlvgJSNxbeYYsnJfvyjx1MfU0V5tkKiU1EesNFta1kTA0szNisdYc9isqk7mXT5-KfGRbfc4V_9zRIcE8jlHN61S1ju8X93-6dxDUrG2SzxqJ4BhqyYmUDruPXJSX4vUc01P7j98MpqOS95rORdGHeI52Naz5m2B-O-vjsC060d37jY9LFeuOP4Meri8qgfi2S5kKqg_aF6aPtuAZQVR7u3KFYXP59XmJgtcog05gmI0T_OitLhuzVvpZcLph0odh_1IPXqx3-MnjD97A7fXpqGd_y8KxX7jksTEzAOgbKAeam3lm-3yKIcTYMlsRMXPcjNbIvmsBykD__xSniusuHBkgnlENEWx1UcbQQrs-gVDkuVPhsnzIRNgYvM48Y-7LGiJYnrmE8xcrexekBxrva2V9TJQqnN3Q53kt5viQi3-gCfmkwC0F0tirIZbLkXPrPwzZ0M9eNxhIySb2npJfgnqz55I0u33wh4r0ZNQeTGfw03MBUtyuzGesGkcw-loqMaq1qR4tjGbPYxCvpCq7-OgpCCoMNit2uLo9M18fHz10lOMT8nWAUvRZFzteXCm-7PHdYPlmQwUw3LvenJ_ILXoQPHfbkH0CyPfhl1jWhJFZas',
    },
    {
        line: 'Milan',
        role: 'ASK',
        keyId: '73478c05cc174bfeb06e718fa75dc3c8',
        sha256: '17109261a9951a4018377a0a57a652a6ae24b19c1d2410f1bd216b6681214cbc',
        n: 'nU2drrNTfbhNQIllf-W2y-ROCbSzId1aKZft2T9zjZQOzjGccl17i1mIKWl7NTcB0VYXt3JxZSzOZjsjLNVAEN2MGj9TiedL-QewKZX0JmQEuYjm-WKksLtxgdLp9E7EZNwNDqV1r0qRP5tB8OWkyQbIdLeu4aCz7j_Sl1FkBytev9sbFGzt7cwnjzi9m7noqsk-uRVBp3-In35QPdcj8YflEmnHBNvuUDJhLCJMW8KOjP6--Phbs3iCitJcANEtW4qTNFoKW3CHlbcSCjTM8KsNbUx3A8ek5EVLjZWH1pt9E3TfpR6XyfQKnY6kl5aEIPwdW3eFYaqCFPrIo9pQT6WuDSP4JCYJbZneKKIbZjzXkJt3NQG32EukYImBb9SCkm9-fS5LZFg9ojzubMX3-NkBoSXI7OPvnHMxjup9mw5se6QUV7GqpCA2TNypolmuQ-cAaxV7JqHE8dl9pWf-Y3arb-9iiFCwFt4lAlJw5D0CTRTC1Y5YWFDBCrA_vGnmTnqG8C-jjUAS7cjjR8q4OPhyDmJRPnaC_ZG5uP0K0z6GoO_3uen9wqshCuHegLTpOeHEJRKrQFr4PVIwVOB0-ebO5FgoyOw43nyFD5UKBDxEB4BKo_0uAiKHLRvvgLbORbU8KARIs1EoqEjmF8UtrmQWV2hUjwzqwvHFei8rPxM',
    },
    {
        line: 'Genoa',
        role: 'ARK',
        keyId: '9f9d4a8fe761456599f6946c4c010f3a',
        sha256: '973df6265e1b40cf8883305c1f6a6cd254979446acb40bd396946b2f19e751e9',
        n: '3Cd95S_uFOuRIskW9vz9VDBF69NDQF79oRhL_L2PVQGhK3YdfEBgpF_JiwWFBsT_fXDhzA01p3LkcT_7LdjcRfKXjHl-0Qq_M4dZkh6QDoUeKzNBLDcBKDDGWo3v35NyrxbA1DnkYwUKU5AAk4P94tKXLp80oxt84ahyHoLmc_LqsGsp-oq1Bz4PPsYLwTG4iMKVaaT90_oZ4I8oibSru92vJhlqWO27d_Rxc3iUMyhNeGToOvgx_iUo4gGpG61NDpkEUvIzuKcaMx8IdTpWg2DF6SwF0IgVMffnvtJmA68BwJNWo1E4PLJdaPfBifcJpuBFwNVQIPQEVX3aP89HJSp8YbY9lySS6PlVEqTBBtaQmi4ATGmMR-n2K_e-JAhU2Gj7jIpJhOkdH9firQDnmlA2SFfJ_Cc0mGNzW9RmIhyOUnNFoclmkRhl3_AQU5Ys9Qsan1jT_EiyT-pCpmnA-y9edvhDCbOG8F2oxHGRdTBkylungrkXJGYiwGrR8kaiqv7NN8QhOBMqYjcbrkEr0f8QMKklIS5ruOfqlLMCBw8JLB3LkjpWgtD7OpxkzSsohN47Uom86RY6lp72g8eXHP1qYrnvhzaG1S70vw6OkbaaC9EjiH_uHgAJQGxon7u0Q7xgoREWA_e7JcBQwLg80Hq_sbRuqesxz7wBWSY254c',
    },
    {
        line: 'Genoa',
        role: 'ASK',
        keyId: 'acbb4ad21acc436fb3e932f812cd01b0',
        sha256: 'b5bebe3b4ff5092c9a9fa28a5624f5d4c8e8aeb2df847c0391209611802d5866',
        n: 'oHJhvk4Fwwkwb03AMfLySXJSXmEaCZMTRbLgPaj4oEzaD9tGfxCSw_nsCAiXHQaWUt--bnbjJO05TKT5d-Cdrz4_fiRBpbhf0xzvh11O-wJTBPj3uCzDm48vEZ8l5SXMO4wd_QqwsrejFERPD_Hdfv1mGCMW7ac0ug8trDzqGe-l-p8NMjp_EqBDY2vd8hLaVLmS-XjAqlYVNRksh9aTzSYL19_cTrBDmqQ2y8k23zNl2lW6q_BtQOpWGVs3EWvBHb_Qnf3f3S9-lC4H2jdDy9yn7kqyTWq4WCBnE4qhYJRokulYtzMZM1Ilk4Z6RPkOTR1MJ4gdFtj7lKmrkSuOoJYmqhJIsQJ854lAbJybgU7zyzWAwu3uaslkYKUEAQf2ja5Hyl3IBqOzpqY31SpKzbl8NXveZybRMklwfe4iDLI25T9ku9CVetDYifCbdGeuHdTwZBBemW4NE57L7iEV8-zz8nxng8OMX__4pXntWqmQbEAnBLv2ToTgd1H2zYRthyDLc3V119_-FnTW17LK6bKzTCgEnCHQEcAt0hDQLLF799-2lZTxxfBEoduAZax6IjgAMCi6e1ZfKPJSkdvb2m3BwfP8bniG7-AEJv1WOEmnBJc1pVQCttbJUodbi07Vfen5JRUqAvSM3ObWQOzSAGzsGnpIigwFpW6m9F7uYVU',
    },
    {
        line: 'Turin',
        role: 'ARK',
        keyId: 'd05c3a8bde484904b49552422ceb3942',
        sha256: '89327696f8082b20f5a588565adc26d478e1c6d56153c1de656e63396b8f8e20',
        n: 'waAriB7EIuVc4ZB1wD3YfDxL-9eyS7-izm0Jj3W772NINCWl8Bj3w_JD2ZjmbRxWdIq_4d9iarCKorXloJUB1jRdgxqccTx1aOoig4-2w1XhVVJT7K457wT5ZLNJgQaxqa9Etkwjd6-9sOhlCDE9l43kQ0R2BikVJa_uyyVOSwEk5w5tXKOuG9jvq6QtAMJasW38wlqRDaKEGtZ9VUgGon27ZuL4sTJuC_azz9_iQBw8kEilzOl95AiTkeY5jSEBDWbAqnZk5qlM7kISKG20kgQm14mhNKDI2p2oua-zuAG7i52epoRF2GfU0TYk_yf-vCNB2tnechFQuP2e8bLk95ZdqPi9_UWw4JXjtdEA4u2JYplSSUPQVAXKt6LVqujtJcM59JKr2u0XQ75KwxcMp15gSXhBfInvPAwuAY4dEwwGqT8oIg4esPHwEsmChhYeDIxPG9R4fx9O0q6p8Gb-HXlTiS47P9YNeOpidOUKzDl_S1OvyhDtSL8LJc24QATFydo_iD_KUdvFTRlD0crkAMkZLoWQ8hLDGc6BZJXsdd7Zf2e4UW3tI_1oh_2t23Ot3zyhTcv5gDbABu0LjVe98uRnS15SMwK__lJt9e5BqKvgABkSoABf-B4VFtPVEX0ygrYaFaI9i5ABrxnVBmzXpRb21iI1NlNCfOGUPIhVpWE',
    },
    {
        line: 'Turin',
        role: 'ASK',
        keyId: '15051693f7304d65a527b4a7f3f7cb77',
        sha256: 'd9a3f28291929d66abea9aa2817201ceb96ba0a8334a89f4ec6058307d36ae99',
        n: 'nvg5Grv2Emd9lAhKdO64RXU3UESb6JTm0Hhzevx1PyxinxYqJL329qTJM0XmdozLYb7rsHxgM5I2pU18M8gect2pN_YB2LQ1_bIq37TPDbg7ym0MN6KkZ6aERxAX0voYtdDyNxjDAUjpRpCe1FccAev_Es2n_Fz1G1TmC2XepTQqaKpmt6mnDWSCHCVsQoY0gSibeaG6doM6OiNUCbKXaC7KHH5b_96BD1DJ84M-JHqPClFhHqUJwzKF5Qxj4wgWAZzK8UPhiNGjrF6-TBdlFGdSzEqw1jOrCTHduYyLK-5OQ3OIw4S-vZeOVoxJajTIWdsqYP2DLc0HkL0qWOumEOrrc2_4DeETShB0MyIpH05kSalyQN2eN5P6ptOB84hddCdbJPEepnD-FqQap1ukw3K8uBcgeBSAF23r6UtT8Uc5h7MsWX3MoZiEHcSkDQQ8IedTk7CLjsK6S7b_lfKqfYiRhKgGkRvsEd_MDNcumHZKIgzasJwgagzSggiUo9jXp3EWm84fqyxNXzSutPB7qD5P_ULAB-q9QgvrzC8XneaLP0MNrHhM80UejmsBTIktMvFoWVIelYDLdcoi0eMD5DRccfsgrYaY6h_-_qf9tgg-mX09UJpuSPRF38oyqnNNFMl5v_tWLgUsChPU6NCQC17Qaqr8mu2ynyyuHEs5JVU',
    },
]

/** The public key of a row. */
export const amdKey = ({ n }: AmdKey): KeyObject =>
    createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
